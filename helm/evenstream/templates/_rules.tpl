{{/*
The groups of a PrometheusRule, as YAML: what `evenstream alerts render --values` writes for the same values.
Takes (dict "files" .Files "values" VALUES "path" "monitoring.rules"): VALUES as that command's values file has them
(selector, labels, runbooks, alerts); path: where they stand in the chart's values, for refusals.
*/}}
{{- define "evenstream.rules" -}}
{{- $rules := .files.Get "files/rules.yaml" | fromYaml -}}
{{- $values := .values | default dict -}}
{{- $path := .path -}}
{{- $labels := $values.labels | default dict -}}
{{- $runbooks := regexReplaceAll "/+$" ($values.runbooks | default "docs/runbooks") "" -}}
{{- $matchers := dict
      "metrics" (include "evenstream.rules.matchers" ($values.selector | default dict))
      "recorded" (include "evenstream.rules.matchers" $labels) -}}
{{- include "evenstream.rules.labels" (dict "labels" $labels "path" (printf "%s.labels" $path)) -}}
{{- include "evenstream.rules.labels" (dict "labels" ($values.selector | default dict) "path" (printf "%s.selector" $path)) -}}
{{- $given := $values.alerts | default dict -}}
{{- $known := list -}}
{{- range $rules.groups -}}{{- range .alerts -}}{{- $known = append $known .alert -}}{{- end -}}{{- end -}}
{{- range $name := keys $given | sortAlpha -}}
{{- if not (has $name $known) -}}
{{- fail (printf "%s.alerts: there is no alert %s; there are %s" $path $name (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- $groups := list -}}
{{- range $group := $rules.groups -}}
{{- $made := list -}}
{{- range $group.recordings -}}
{{- $expr := include "evenstream.rules.selecting" (dict "expr" .expr "matchers" $matchers) -}}
{{- $rule := dict "record" .record "expr" $expr -}}
{{- if $labels -}}{{- $_ := set $rule "labels" $labels -}}{{- end -}}
{{- $made = append $made $rule -}}
{{- end -}}
{{- range $alert := $group.alerts -}}
{{- $tuned := get $given .alert | default dict -}}
{{- $at := printf "%s.alerts.%s" $path .alert -}}
{{- $filled := include "evenstream.rules.alert"
      (dict "alert" . "tuned" $tuned "rules" $rules "matchers" $matchers "path" $at) | fromYaml -}}
{{- if $filled.enabled -}}
{{- $rule := dict "alert" .alert "expr" $filled.expr -}}
{{- range $name, $span := $filled.spans -}}{{- $_ := set $rule $name $span -}}{{- end -}}
{{- $_ := set $rule "labels" (merge (dict) ($tuned.labels | default dict) $labels (dict "severity" $filled.severity)) -}}
{{- $_ := set $rule "annotations" (dict "summary" .summary "description" .description
      "runbook_url" (printf "%s/%s.md" $runbooks .alert)) -}}
{{- $made = append $made $rule -}}
{{- end -}}
{{- end -}}
{{- if $made -}}
{{- $one := dict "name" $group.name "rules" $made -}}
{{- if $group.interval -}}{{- $_ := set $one "interval" $group.interval -}}{{- end -}}
{{- $groups = append $groups $one -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* One alert with what is set of it: enabled, severity, expr, and spans that are not 0 (for, keep_firing_for). */}}
{{- define "evenstream.rules.alert" -}}
{{- $path := .path -}}
{{- $tuned := .tuned -}}
{{- $parameters := .alert.parameters -}}
{{- $words := concat (keys $parameters | sortAlpha) (list "enabled" "severity" "labels") -}}
{{- range $name := keys $tuned | sortAlpha -}}
{{- if not (has $name $words) -}}
{{- fail (printf "%s.%s: there is no such parameter; there are %s" $path $name (join ", " $words)) -}}
{{- end -}}
{{- end -}}
{{- $enabled := ternary $tuned.enabled true (hasKey $tuned "enabled") -}}
{{- if not (kindIs "bool" $enabled) -}}
{{- fail (printf "%s.enabled: expected true or false, got %v" $path $enabled) -}}
{{- end -}}
{{- $severity := $tuned.severity | default .alert.severity -}}
{{- if not (has $severity .rules.severities) -}}
{{- fail (printf "%s.severity: expected one of %s, got %v" $path (join ", " .rules.severities) $severity) -}}
{{- end -}}
{{- include "evenstream.rules.labels" (dict "labels" ($tuned.labels | default dict) "path" (printf "%s.labels" $path)) -}}
{{- $expr := .alert.expr -}}
{{- $spans := dict -}}
{{- $roles := .rules.roles -}}
{{- $absent := .rules.absent -}}
{{- range $name, $parameter := $parameters -}}
{{- $value := ternary (get $tuned $name) $parameter.default (hasKey $tuned $name) -}}
{{- $at := printf "%s.%s" $path $name -}}
{{- if eq $parameter.kind "duration" -}}
{{- $milliseconds := include "evenstream.rules.milliseconds" (dict "text" $value "path" $at) | int64 -}}
{{- $text := include "evenstream.rules.duration" $milliseconds -}}
{{- if has $name (list "for" "keep_firing_for") -}}
{{- if $milliseconds -}}{{- $_ := set $spans $name $text -}}{{- end -}}
{{- else if not $milliseconds -}}
{{- fail (printf "%s: expected a duration above 0, got %v" $at $value) -}}
{{- end -}}
{{- $seconds := printf "%.12g" (divf $milliseconds 1000) -}}
{{- $expr = $expr | replace (printf "${%s}" $name) $text | replace (printf "${%s_seconds}" $name) $seconds -}}
{{- else if eq $parameter.kind "number" -}}
{{- if not (or (kindIs "float64" $value) (kindIs "int64" $value) (kindIs "int" $value)) -}}
{{- fail (printf "%s: expected a number, got %v" $at $value) -}}
{{- end -}}
{{- $expr = $expr | replace (printf "${%s}" $name) (printf "%.12g" (float64 $value)) -}}
{{- else -}}
{{- $wrong := or (not (kindIs "slice" $value)) (not $value) -}}
{{- if not $wrong -}}{{- range $value -}}{{- if not (has . $roles) -}}{{- $wrong = true -}}{{- end -}}{{- end -}}{{- end -}}
{{- if $wrong -}}
{{- fail (printf "%s: expected a list of roles out of %s, got %v" $at (join ", " $roles) $value) -}}
{{- end -}}
{{- $chosen := list -}}
{{- $asked := list -}}
{{- range $role := $roles -}}
{{- if has $role $value -}}
{{- $chosen = append $chosen $role -}}
{{- $asked = append $asked ($absent | replace "${role}" $role) -}}
{{- end -}}
{{- end -}}
{{- $expr = $expr | replace (printf "${%s}" $name) (join "|" $chosen) -}}
{{- $expr = $expr | replace (printf "${absent_%s}" $name) (join "\nor\n" $asked) -}}
{{- end -}}
{{- end -}}
{{- $expr = include "evenstream.rules.selecting" (dict "expr" $expr "matchers" .matchers) -}}
{{- toYaml (dict "enabled" $enabled "severity" $severity "expr" $expr "spans" $spans) -}}
{{- end -}}

{{/* An expression that reads only series with the labels of the deployment. */}}
{{- define "evenstream.rules.selecting" -}}
{{- $expr := .expr -}}
{{- range $of, $text := .matchers -}}
{{- $expr = $expr | replace (printf "${%s}" $of) (ternary (printf "{%s}" $text) "" (ne $text "")) -}}
{{- $expr = $expr | replace (printf "${%s,}" $of) (ternary (printf "%s, " $text) "" (ne $text "")) -}}
{{- end -}}
{{- $expr -}}
{{- end -}}

{{/* Matchers of PromQL from labels, without braces. */}}
{{- define "evenstream.rules.matchers" -}}
{{- $found := list -}}
{{- range $label, $value := . -}}
{{- $quoted := $value | toString | replace "\\" "\\\\" | replace "\"" "\\\"" | replace "\n" "\\n" -}}
{{- $found = append $found (printf "%s=\"%s\"" $label $quoted) -}}
{{- end -}}
{{- join ", " $found -}}
{{- end -}}

{{/* Refuses what is no label of Prometheus; writes nothing. */}}
{{- define "evenstream.rules.labels" -}}
{{- $path := .path -}}
{{- range $label, $value := .labels -}}
{{- if or (not (regexMatch "^[a-zA-Z_][a-zA-Z0-9_]*$" $label)) (has $label (list "alertname" "severity")) -}}
{{- fail (printf "%s: expected a label's name (letters, digits and _; not alertname, severity), got %s" $path $label) -}}
{{- end -}}
{{- if not (kindIs "string" $value) -}}
{{- fail (printf "%s.%s: expected text, got %v; put it between quotes" $path $label $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The milliseconds of a duration as Prometheus writes it. */}}
{{- define "evenstream.rules.milliseconds" -}}
{{- $form := "^([0-9]{1,9}y)?([0-9]{1,9}w)?([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$" -}}
{{- $text := toString .text -}}
{{- if not (and (kindIs "string" .text) $text (or (eq $text "0") (regexMatch $form $text))) -}}
{{- fail (printf "%s: expected a duration such as 90s, 15m or 1h30m, got %v" .path .text) -}}
{{- end -}}
{{- $units := dict "y" 31536000000 "w" 604800000 "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $sum := 0 -}}
{{- range $part := regexFindAll "[0-9]+(ms|[ywdhms])" $text -1 -}}
{{- $unit := regexFind "[a-z]+$" $part -}}
{{- $sum = add $sum (mul (trimSuffix $unit $part | atoi) (get $units $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* The shortest text that Prometheus reads as so many milliseconds. */}}
{{- define "evenstream.rules.duration" -}}
{{- $left := int64 . -}}
{{- $text := "" -}}
{{- range $part := list (list "d" 86400000) (list "h" 3600000) (list "m" 60000) (list "s" 1000) (list "ms" 1) -}}
{{- $count := div $left (index $part 1) -}}
{{- if $count -}}{{- $text = printf "%s%d%s" $text $count (index $part 0) -}}{{- end -}}
{{- $left = mod $left (index $part 1) -}}
{{- end -}}
{{- $text | default "0s" -}}
{{- end -}}
