{{/* Egress to names and to Kafka, and to nothing else. */}}
{{- define "evenstream.egress" -}}
{{- $values := .Values -}}
{{- $ports := $values.networkPolicy.kafka.ports -}}
{{- if not $ports -}}
{{- range $server := splitList "," $values.kafka.bootstrap -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim $server) | int) -}}
{{- end -}}
{{- end -}}
- to:
    {{- toYaml $values.networkPolicy.dns.to | nindent 4 }}
  ports:
    {{- range $values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
- ports:
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with $values.networkPolicy.kafka.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
