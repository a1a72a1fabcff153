{{- define "gpu-scaler.exporterArgs" -}}
{{- with .Values.exporter }}
{{- with .collectors }}
- --collectors={{ join "," . }}
{{- end }}
{{- with .extraResourceNames }}
- --pod-resources.extra-names={{ join "," . }}
{{- end }}
{{- if .dra }}
- --dra
{{- end }}
{{- with .publishPodLabels }}
- {{ printf "--pod-labels=%s" . | quote }}
{{- end }}
{{- if .web.configSecret }}
- --web.config.file=/etc/gpu-exporter/web/{{ .web.configKey }}
{{- end }}
{{- if ne (int .port) 9445 }}
- --web.listen-address=:{{ .port }}
{{- end }}
{{- include "gpu-scaler.logArgs" . }}
{{- range .extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

