{{/* What text in a value must look like, where a schema could only show a pattern: what came, what is expected, and why. */}}
{{- define "evenstream.formats" -}}
{{- if not (regexMatch "^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$" .Values.deployment) -}}
{{- fail (printf "deployment is %q: expected 2 to 40 lower-case letters, digits and -, since topics, users and Secrets are named after it" .Values.deployment) -}}
{{- end -}}
{{- with .Values.image.repository -}}
{{- if not (regexMatch "^[a-z0-9][a-zA-Z0-9._:/-]*[a-z0-9]$" .) -}}
{{- fail (printf "image.repository is %q: expected a registry and a name, such as registry.example/evenstream; image.digest says which image" .) -}}
{{- end -}}
{{- if contains ":" (splitList "/" . | last) -}}
{{- fail (printf "image.repository is %q, with a tag: expected a name alone, such as registry.example/evenstream; image.digest says which image" .) -}}
{{- end -}}
{{- end -}}
{{- with .Values.image.digest -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .) -}}
{{- fail (printf "image.digest is %q: expected sha256: and 64 hexadecimal digits, as your registry shows it, and no tag, which can come to mean another image" .) -}}
{{- end -}}
{{- end -}}
{{- range $server := splitList "," .Values.kafka.bootstrap -}}
{{- if and $.Values.kafka.bootstrap (not (regexMatch "^(\\[[0-9a-fA-F:.]+\\]|[^,:\\s]+):[0-9]{1,5}$" (trim $server))) -}}
{{- fail (printf "kafka.bootstrap names %q: expected host:port, several of them with commas, such as kafka-1:9093,kafka-2:9093" (trim $server)) -}}
{{- end -}}
{{- end -}}
{{- if not (contains "ROLE" .Values.keys.externalSecret.remoteKey) -}}
{{- fail (printf "keys.externalSecret.remoteKey is %q: expected ROLE in it, as in evenstream/ROLE, since each role has keys of its own" .Values.keys.externalSecret.remoteKey) -}}
{{- end -}}
{{- include "evenstream.quantity" (dict "path" "persistence.size" "value" .Values.persistence.size) -}}
{{- range $role, $own := .Values.roles -}}
{{- range $part, $amounts := $own.resources -}}
{{- range $name, $amount := $amounts -}}
{{- include "evenstream.quantity" (dict "path" (printf "roles.%s.resources.%s.%s" $role $part $name) "value" $amount) -}}
{{- end -}}
{{- end -}}
{{- /* Its Jobs ask for so much, and have its limit. */ -}}
{{- $limit := toString $own.resources.limits.memory -}}
{{- if and (regexMatch "^[0-9.]+Mi?$" $limit) (lt (regexFind "^[0-9]+" $limit | int) 128) -}}
{{- fail (printf "roles.%s.resources.limits.memory is %q: expected 128Mi or more, which a process of evenstream's needs to begin" $role $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "evenstream.quantity" -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$" (toString .value)) -}}
{{- fail (printf "%s is %q: expected a quantity of Kubernetes, such as 512Mi, 2Gi or 500m" .path (toString .value)) -}}
{{- end -}}
{{- end -}}
