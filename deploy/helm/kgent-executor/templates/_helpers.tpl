{{- define "kgent-executor.labels" -}}
app.kubernetes.io/name: kgent-executor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
