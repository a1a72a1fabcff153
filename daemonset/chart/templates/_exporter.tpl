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

{{/* How the kubelet looks at the exporter; where clients need a certificate, the kubelet has none. */}}
{{- define "gpu-scaler.exporterProbe" -}}
{{- $web := .root.Values.exporter.web -}}
{{- if and $web.configSecret $web.clientCertificates -}}
tcpSocket: {port: metrics}
{{- else -}}
httpGet: {path: {{ .path }}, port: metrics{{ if include "gpu-scaler.exporterServesTls" .root }}, scheme: HTTPS{{ end }}}
{{- end }}
{{- end }}
