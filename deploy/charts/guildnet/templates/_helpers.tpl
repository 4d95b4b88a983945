{{- define "guildnet.fullname" -}}
{{- if contains "guildnet" .Release.Name }}{{ .Release.Name | trunc 45 | trimSuffix "-" }}{{ else }}{{ printf "guildnet-%s" .Release.Name | trunc 45 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* The next helpers take a list: the root, and the component. */ -}}
{{- define "guildnet.name" -}}
{{ include "guildnet.fullname" (index . 0) }}-{{ index . 1 }}
{{- end }}

{{- define "guildnet.selector" -}}
app.kubernetes.io/name: guildnet-{{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "guildnet.labels" -}}
{{ include "guildnet.selector" . }}
app.kubernetes.io/part-of: guildnet
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "guildnet.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry | trimSuffix "/" }}/{{ .repository | trimPrefix "localhost/" }}{{ else }}{{ .repository }}{{ end -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default "latest" }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* What reconciler and dashboard have in common in their pods. */ -}}
{{- define "guildnet.podMetadata" -}}
{{- $component := index (index . 0).Values (index . 1) -}}
{{- with $component.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- include "guildnet.labels" . | nindent 2 }}
  {{- with $component.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "guildnet.scheduling" -}}
{{- $root := index . 0 }}
{{- $component := index $root.Values (index . 1) }}
{{- $labels := include "guildnet.selector" . }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- with $component.affinity }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- $labels | nindent 14 }}
  {{- end }}
{{- with $component.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "guildnet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10000
# Secrets are readable by this group alone.
fsGroup: 10000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "guildnet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "guildnet.env" -}}
{{- $values := (index . 0).Values -}}
- name: HOME
  value: /tmp
- name: GUILDNET_STATE_DIR
  value: /var/lib/guildnet
{{- with $values.caBundle }}
{{- if .existingConfigMap }}
- name: SSL_CERT_FILE
  value: /etc/guildnet/ca/{{ .key }}
- name: GIT_SSL_CAINFO
  value: /etc/guildnet/ca/{{ .key }}
{{- end }}
{{- end }}
{{- range $name, $value := dict "HTTP_PROXY" $values.proxy.http "HTTPS_PROXY" $values.proxy.https "NO_PROXY" $values.proxy.noProxy }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
- name: {{ lower $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with (index $values (index . 1)).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "guildnet.mounts" -}}
{{- $values := (index . 0).Values -}}
- name: tmp
  mountPath: /tmp
- name: state
  mountPath: /var/lib/guildnet
{{- if $values.repository.existingSecret }}
- name: git
  mountPath: /etc/guildnet/git
  readOnly: true
{{- end }}
{{- if $values.caBundle.existingConfigMap }}
- name: ca
  mountPath: /etc/guildnet/ca
  readOnly: true
{{- end }}
{{- with (index $values (index . 1)).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "guildnet.volumes" -}}
{{- $values := (index . 0).Values -}}
{{- $component := index $values (index . 1) -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: state
  emptyDir:
    sizeLimit: {{ $component.state.sizeLimit }}
{{- with $values.repository.existingSecret }}
- name: git
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with $values.caBundle.existingConfigMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with $component.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "guildnet.repositoryArgs" -}}
{{- with .Values.repository -}}
- --repo
- {{ required "repository.url is required: the state repository (--set repository.url=https://...)" .url | quote }}
- --branch
- {{ .branch | quote }}
- --status-branch
- {{ .statusBranch | quote }}
{{- if .existingSecret }}
- --git-credentials
- /etc/guildnet/git
{{- end }}
{{- end }}
{{- end }}
