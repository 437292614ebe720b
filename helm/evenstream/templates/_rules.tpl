{{/* What `evenstream alerts render` does, with files/rules.yaml: tests/chart/test_rules.py holds the two together. */}}

{{/* A time span such as 1h30m, in seconds. */}}
{{- define "evenstream.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "w" 604800.0 "y" 31536000.0 -}}
{{- $seconds := 0.0 -}}
{{- range $part := regexFindAll "[0-9]+(ms|s|m|h|d|w|y)" (toString .) -1 -}}
{{- $seconds = addf $seconds (mulf (regexFind "^[0-9]+" $part | float64) (get $units (regexFind "[a-z]+$" $part))) -}}
{{- end -}}
{{- if eq (floor $seconds) $seconds -}}{{- int64 $seconds -}}{{- else -}}{{- $seconds -}}{{- end -}}
{{- end -}}

{{/* Matchers of a label each: (dict "labels" MAP "comma" BOOL): {a="b"}, or what stands before other matchers. */}}
{{- define "evenstream.matchers" -}}
{{- $found := list -}}
{{- range $label, $value := .labels -}}{{- $found = append $found (printf "%s=%q" $label $value) -}}{{- end -}}
{{- if $found -}}
{{- if .comma -}}{{ join ", " $found }}, {{ else -}}{ {{- join ", " $found -}} }{{- end -}}
{{- end -}}
{{- end -}}

{{/* An expression with the deployment's own matchers: (dict "expr" E "rules" monitoring.rules). */}}
{{- define "evenstream.selecting" -}}
{{- .expr
    | replace "${metrics}" (include "evenstream.matchers" (dict "labels" .rules.selector "comma" false))
    | replace "${metrics,}" (include "evenstream.matchers" (dict "labels" .rules.selector "comma" true))
    | replace "${recorded}" (include "evenstream.matchers" (dict "labels" .rules.labels "comma" false))
    | replace "${recorded,}" (include "evenstream.matchers" (dict "labels" .rules.labels "comma" true)) -}}
{{- end -}}

{{/* Refuses what an alert does not have: (dict "alert" A "given" MAP "source" files/rules.yaml). */}}
{{- define "evenstream.tuningChecks" -}}
{{- $where := printf "monitoring.rules.alerts.%s" .alert.alert -}}
{{- range $name, $value := .given -}}
{{- if not (or (has $name (list "enabled" "severity" "labels")) (hasKey $.alert.parameters $name)) -}}
{{- fail (printf "%s.%s: there is no such parameter; there are enabled, severity, labels, %s" $where $name (keys $.alert.parameters | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and (eq $name "enabled") (not (kindIs "bool" $value)) -}}
{{- fail (printf "%s.enabled: expected true or false, got %v" $where $value) -}}
{{- end -}}
{{- if and (eq $name "severity") (not (has $value $.source.severities)) -}}
{{- fail (printf "%s.severity: expected one of %s, got %v" $where (join ", " $.source.severities) $value) -}}
{{- end -}}
{{- if and (eq $name "labels") (not (kindIs "map" $value)) -}}
{{- fail (printf "%s.labels: expected labels with their values, got %v" $where $value) -}}
{{- end -}}
{{- with get $.alert.parameters $name -}}
{{- if and (eq .kind "duration") (not (regexMatch "^([0-9]+(ms|s|m|h|d|w|y))+$" (toString $value))) -}}
{{- fail (printf "%s.%s: expected a time span such as 10m, got %v" $where $name $value) -}}
{{- end -}}
{{- if and (eq .kind "number") (not (or (kindIs "float64" $value) (kindIs "int64" $value) (kindIs "int" $value))) -}}
{{- fail (printf "%s.%s: expected a number, got %v" $where $name $value) -}}
{{- end -}}
{{- if eq .kind "roles" -}}
{{- if not (and (kindIs "slice" $value) $value) -}}
{{- fail (printf "%s.%s: expected a list of roles (%s), got %v" $where $name (join ", " $.source.roles) $value) -}}
{{- end -}}
{{- range $role := $value -}}
{{- if not (has $role $.source.roles) -}}
{{- fail (printf "%s.%s: there is no role %v; there are %s" $where $name $role (join ", " $.source.roles)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One alert as Prometheus reads it: (dict "alert" A "rules" monitoring.rules "source" files/rules.yaml). As JSON. */}}
{{- define "evenstream.alert" -}}
{{- $given := default dict (get .rules.alerts .alert.alert) -}}
{{- include "evenstream.tuningChecks" (dict "alert" .alert "given" $given "source" .source) -}}
{{- $expr := .alert.expr -}}
{{- $spans := dict -}}
{{- range $name, $parameter := .alert.parameters -}}
{{- $value := ternary (get $given $name) $parameter.default (hasKey $given $name) -}}
{{- if eq $parameter.kind "duration" -}}
{{- $seconds := include "evenstream.seconds" $value -}}
{{- $expr = $expr | replace (printf "${%s_seconds}" $name) $seconds | replace (printf "${%s}" $name) (toString $value) -}}
{{- if and (has $name (list "for" "keep_firing_for")) (gt (float64 $seconds) 0.0) -}}{{- $_ := set $spans $name (toString $value) -}}{{- end -}}
{{- else if eq $parameter.kind "roles" -}}
{{- $absent := list -}}
{{- range $role := $value -}}{{- $absent = append $absent (replace "${role}" $role $.source.absent) -}}{{- end -}}
{{- $expr = $expr | replace "${absent_roles}" (join "\nor\n" $absent) | replace (printf "${%s}" $name) (join "|" $value) -}}
{{- else -}}
{{- $expr = replace (printf "${%s}" $name) (toString $value) $expr -}}
{{- end -}}
{{- end -}}
{{- $labels := mergeOverwrite (dict "severity" (default .alert.severity (get $given "severity"))) (deepCopy .rules.labels) (deepCopy (default dict (get $given "labels"))) -}}
{{- $made := dict "alert" .alert.alert "expr" (include "evenstream.selecting" (dict "expr" $expr "rules" .rules)) "labels" $labels "annotations" (dict
    "summary" .alert.summary
    "description" .alert.description
    "runbook_url" (printf "%s/%s.md" (trimSuffix "/" .rules.runbooks) .alert.alert)) -}}
{{- mergeOverwrite $made $spans | toJson -}}
{{- end -}}

{{/* Every group of rules, as YAML. */}}
{{- define "evenstream.rules" -}}
{{- $rules := .Values.monitoring.rules -}}
{{- $source := .Files.Get "files/rules.yaml" | fromYaml -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- range $group := $source.groups -}}
{{- $made := list -}}
{{- range $recording := $group.recordings -}}
{{- $record := dict "record" $recording.record "expr" (include "evenstream.selecting" (dict "expr" $recording.expr "rules" $rules)) -}}
{{- if $rules.labels -}}{{- $_ := set $record "labels" $rules.labels -}}{{- end -}}
{{- $made = append $made $record -}}
{{- end -}}
{{- range $alert := $group.alerts -}}
{{- $known = append $known $alert.alert -}}
{{- $one := include "evenstream.alert" (dict "alert" $alert "rules" $rules "source" $source) | fromJson -}}
{{- if ne (get (default dict (get $rules.alerts $alert.alert)) "enabled" | toString) "false" -}}
{{- $made = append $made $one -}}
{{- end -}}
{{- end -}}
{{- if $made -}}
{{- $entry := dict "name" $group.name "rules" $made -}}
{{- if $group.interval -}}{{- $_ := set $entry "interval" $group.interval -}}{{- end -}}
{{- $groups = append $groups $entry -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $rules.alerts -}}
{{- if not (has $name $known) -}}
{{- fail (printf "monitoring.rules.alerts.%s: there is no such alert; there are %s" $name (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}
