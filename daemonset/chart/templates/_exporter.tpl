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
{{- with .podLabels }}
- {{ printf "--pod-labels=%s" . | quote }}
{{- end }}
{{- if .web.configSecret }}
- --web.config.file=/etc/gpu-exporter/web/{{ .web.configKey }}
{{- end }}
{{- range .extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

