"""Talos machines on this host, and Kubernetes clusters made of them.

Each machine is Talos' own userland in container mode, as `talosctl cluster create docker` runs it:
the real init, API and containerd, in namespaces instead of a virtual machine. Everything that Talos
does below its userland is missing: kernel, boot, installation to disk, upgrades of Talos itself,
reboots through its API, and system extensions.

The entry points are in `site`.
"""
