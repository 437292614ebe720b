{{/* What an operator adds to pods (podDefaults, roles.ROLE.pod) may not undo what the chart promises of them. */}}
{{- define "evenstream.additions" -}}
{{- $scopes := dict "podDefaults" .Values.podDefaults -}}
{{- range $role, $own := .Values.roles -}}{{- $_ := set $scopes (printf "roles.%s.pod" $role) $own.pod -}}{{- end -}}
{{- range $scope, $pod := $scopes -}}
{{- range $name, $_ := $pod.podLabels -}}
{{- if regexMatch "^app[.]kubernetes[.]io/(name|instance|component|part-of)$" $name -}}
{{- fail (printf "%s.podLabels: %s is set by the chart, whose selectors and network policies find pods by it: leave it out" $scope $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $pod.podAnnotations -}}
{{- if regexMatch "^(checksum/|prometheus[.]io/)" $name -}}
{{- fail (printf "%s.podAnnotations: %s is set by the chart (monitoring.scrape=annotations): leave it out" $scope $name) -}}
{{- end -}}
{{- end -}}
{{- range $variable := $pod.extraEnv -}}
{{- if regexMatch "^(EVENSTREAM_|KAFKA_BOOTSTRAP$)" $variable.name -}}
{{- fail (printf "%s.extraEnv: %s is a setting of evenstream, and would go before the chart's own: use settings, roles.ROLE.settings, or the value of its name" $scope $variable.name) -}}
{{- end -}}
{{- if eq $variable.name "TMPDIR" -}}
{{- fail (printf "%s.extraEnv: TMPDIR is set by the chart, to memory: leave it out" $scope) -}}
{{- end -}}
{{- end -}}
{{- range $volume := $pod.extraVolumes -}}
{{- if has $volume.name (list "settings" "tmp" "kafka" "kafka-ca" "http" "keys" "state") -}}
{{- fail (printf "%s.extraVolumes: %s is the name of a volume of the chart's: choose another" $scope $volume.name) -}}
{{- end -}}
{{- range $kind, $_ := omit $volume "name" -}}
{{- if not (has $kind (list "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "persistentVolumeClaim" "projected" "secret")) -}}
{{- fail (printf "%s.extraVolumes: %s is a %s, which Pod Security `restricted` refuses: use a claim, a ConfigMap or a Secret" $scope $volume.name $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $mount := $pod.extraVolumeMounts -}}
{{- if regexMatch "^(/etc/evenstream|/var/lib/evenstream|/tmp)(/|$)" (toString $mount.mountPath) -}}
{{- fail (printf "%s.extraVolumeMounts: %s is at %s, where the chart mounts keys, settings and state: choose another path" $scope $mount.name $mount.mountPath) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
