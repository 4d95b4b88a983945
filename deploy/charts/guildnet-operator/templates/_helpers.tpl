{{- define "guildnet-operator.name" -}}
guildnet-operator-{{ .Values.agents.namespace }}
{{- end }}

{{- define "guildnet-operator.labels" -}}
app.kubernetes.io/name: guildnet-operator
app.kubernetes.io/instance: {{ .Values.agents.namespace }}
app.kubernetes.io/managed-by: guildnet
guildnet.io/org: {{ required "org is required: the org whose AgentTasks this operator works on (--set org=NAME)" .Values.org }}
{{- end }}

{{- define "guildnet-operator.selector" -}}
app.kubernetes.io/name: guildnet-operator
app.kubernetes.io/instance: {{ .Values.agents.namespace }}
{{- end }}

{{- /* An image's reference. Takes a list: the root, and the values of the image. */ -}}
{{- define "guildnet-operator.image" -}}
{{- $registry := (index . 0).Values.image.registry -}}
{{- with index . 1 -}}
{{- if $registry }}{{ $registry | trimSuffix "/" }}/{{ .repository | trimPrefix "localhost/" }}{{ else }}{{ .repository }}{{ end -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default "latest" }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "guildnet-operator.restricted" -}}
pod-security.kubernetes.io/enforce: restricted
pod-security.kubernetes.io/warn: restricted
pod-security.kubernetes.io/audit: restricted
{{- end }}
