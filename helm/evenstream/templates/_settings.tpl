{{/* A role's settings file (docs/settings.md), with no secret in it: passwords are files of mounted Secrets. */}}
{{- define "evenstream.settings" -}}
{{- $values := .root.Values -}}
{{- $user := include "evenstream.user" . | fromJson -}}
{{- $auth := $values.kafka.auth -}}
{{- $properties := deepCopy $values.kafka.properties -}}
{{- $files := dict -}}
{{- $sasl := has $auth.type (list "scram-sha-512" "scram-sha-256" "plain") -}}
{{- $transport := ternary "ssl" "plaintext" $values.kafka.tls.enabled -}}
{{- $_ := set $properties "security.protocol" (ternary (printf "sasl_%s" $transport) $transport $sasl) -}}
{{- if and $values.kafka.tls.enabled $values.kafka.tls.caSecret -}}
{{- $_ := set $properties "ssl.ca.location" "/etc/evenstream/kafka-ca/ca.crt" -}}
{{- end -}}
{{- if $sasl -}}
{{- $_ := set $properties "sasl.mechanism" (upper $auth.type) -}}
{{- $_ := set $properties "sasl.username" $user.username -}}
{{- $_ := set $files "sasl.password" "/etc/evenstream/kafka/password" -}}
{{- else if eq $auth.type "tls" -}}
{{- $_ := set $properties "ssl.certificate.location" "/etc/evenstream/kafka/user.crt" -}}
{{- $_ := set $properties "ssl.key.location" "/etc/evenstream/kafka/user.key" -}}
{{- end -}}
{{- $kafka := dict "bootstrap" $values.kafka.bootstrap "properties" $properties -}}
{{- if $files -}}{{- $_ := set $kafka "property_files" $files -}}{{- end -}}
{{- $http := dict "host" "0.0.0.0" "port" 9100 -}}
{{- if $values.http.tlsSecret -}}
{{- $_ := set $http "certificate_file" "/etc/evenstream/http/tls.crt" -}}
{{- $_ := set $http "key_file" "/etc/evenstream/http/tls.key" -}}
{{- end -}}
{{- if $values.http.tokenSecret -}}
{{- $_ := set $http "token_file" "/etc/evenstream/http/token" -}}
{{- end -}}
{{- $fixed := dict "deployment" $values.deployment "kafka" $kafka "http" $http "keys" (dict "dir" "/etc/evenstream/keys") -}}
{{- if include "evenstream.hasState" . -}}
{{- $_ := set $fixed.keys "state_dir" "/var/lib/evenstream/state" -}}
{{- $_ := set $fixed.keys "epoch_dir" "/var/lib/evenstream/epochs" -}}
{{- end -}}
{{- $own := dict -}}
{{- if hasKey $values.roles .role -}}{{- $own = (get $values.roles .role).settings -}}{{- end -}}
{{- $defaults := dict "logging" (dict "format" "json") -}}
{{- mergeOverwrite $defaults (deepCopy $values.settings) (deepCopy $own) $fixed | toYaml -}}
{{- end -}}
