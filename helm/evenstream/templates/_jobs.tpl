{{/* A Job of a hook: (dict "root" $ "role" R "task" "doctor" "on" "pre-install" "weight" "0" "args" LIST). */}}
{{- define "evenstream.job" -}}
{{- $name := printf "%s-hook" (include "evenstream.name" .) -}}
{{- $labels := dict "root" .root "role" (printf "%s-hook" .role) -}}
{{- $state := ternary "memory" "" (eq (include "evenstream.hasState" .) "yes") -}}
{{- $optional := and (eq .task "doctor") (hasPrefix "pre-install" (include "evenstream.before" .root)) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "evenstream.name" . }}-{{ .task }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "evenstream.labels" $labels | nindent 4 }}
  annotations:
    {{- include "evenstream.hook" . | nindent 4 }}
spec:
  backoffLimit: 1
  activeDeadlineSeconds: {{ .root.Values.preflight.timeoutSeconds }}
  template:
    metadata:
      {{- include "evenstream.podMetadata" (merge (dict "component" (printf "%s-hook" .role)) .) | nindent 6 }}
    spec:
      {{- include "evenstream.command" (merge (dict "config" $name "account" $name "state" $state "early" true "optional" $optional) .) | nindent 6 }}
{{- end -}}
