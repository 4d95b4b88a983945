"""A program that looks for a text in everything that a container's command can read."""

#: Its argument is the text, which is never in its own memory or arguments as a whole for long;
#: it prints what has been looked at, and `FOUND` with each place that has the text.
SCAN = r"""
import json, os, pathlib, sys
key = sys.argv[1].encode()
own = str(os.getpid())
looked = {"processes": 0, "environments": 0, "memories": 0, "files": 0, "gateway keys": 0}
def look(path, kind):
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError:
        return
    looked[kind] += 1
    looked["gateway keys"] += kind == "environments" and b"=gn-" in data
    if key in data:
        print("FOUND in", path)
def memory(pid):
    try:
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            for line in maps:
                area, rights = line.split()[:2]
                start, end = (int(x, 16) for x in area.split("-"))
                if "w" not in rights or end - start > 64 << 20:
                    continue
                try:
                    file.seek(start)
                    data = file.read(end - start)
                except (OSError, ValueError, OverflowError):
                    continue
                if key in data:
                    print("FOUND in memory of", pid)
        looked["memories"] += 1
    except OSError:
        return
for pid in filter(str.isdigit, os.listdir("/proc")):
    if pid == own:
        continue
    looked["processes"] += 1
    for name in ("environ", "cmdline"):
        look(f"/proc/{pid}/{name}", "environments")
    memory(pid)
for root in ("/workspace", "/home", "/tmp", "/exchange", "/run", "/var", "/etc"):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.path.getsize(path) < 64 << 20:
                look(path, "files")
print(json.dumps(looked))
"""
