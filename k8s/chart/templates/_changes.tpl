{{/* Change an object of ../base by the values. Takes {object, root}; returns nothing. */}}
{{- define "sira.change" -}}
{{- $object := .object -}}
{{- $values := .root.Values -}}
{{- if $object.metadata.namespace }}{{ $_ := set $object.metadata "namespace" .root.Release.Namespace }}{{ end -}}
{{- if eq $object.kind "Namespace" }}{{ $_ := set $object.metadata "name" .root.Release.Namespace }}{{ end -}}
{{- if eq $object.kind "HorizontalPodAutoscaler" }}{{ $_ := merge (dict) $values.autoscaling | mergeOverwrite $object.spec }}{{ end -}}
{{- if eq $object.kind "ServiceAccount" -}}
  {{- if $values.roleArn -}}
    {{- $_ := set $object.metadata "annotations" (dict "eks.amazonaws.com/role-arn" $values.roleArn) -}}
  {{- else -}}
    {{- $_ := unset $object.metadata "annotations" -}}
  {{- end -}}
{{- end -}}
{{- if eq $object.kind "Job" -}}
  {{/* A Job cannot be changed: Helm deletes the last one, and waits for this one before it updates the pods. */}}
  {{- $hook := dict "helm.sh/hook" "pre-install,pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation" -}}
  {{- $_ := set $object.metadata "annotations" $hook -}}
{{- end -}}
{{- if has $object.kind (list "Deployment" "Job") -}}
  {{- range $container := $object.spec.template.spec.containers -}}
    {{- $_ := set $container "image" (printf "%s:%s" $values.image.repository $values.image.tag) -}}
    {{- if eq $object.kind "Deployment" -}}
      {{- include "sira.environment" (dict "container" $container "values" $values) -}}
      {{- $resources := ternary $values.resources $values.controllerResources (eq $container.name "inference") -}}
      {{- $_ := mergeOverwrite $container.resources $resources -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Set the environment variables that values name, and add the others of extraEnv. Takes {container, values}. */}}
{{- define "sira.environment" -}}
{{- $wanted := dict
  "MODEL_BUCKET" .values.modelBucket
  "AWS_DEFAULT_REGION" .values.awsRegion
  "PROMETHEUS_URL" .values.prometheusUrl
  "ALERTMANAGER_URL" .values.alertmanagerUrl
  "BENTOML_CONFIG_OPTIONS" (printf "services.sira_inference.workers=%d" (int .values.workers)) -}}
{{- range $name, $value := .values.extraEnv }}{{ $_ := set $wanted $name (toString $value) }}{{ end -}}
{{- $seen := list -}}
{{- range $variable := .container.env -}}
  {{- $seen = append $seen $variable.name -}}
  {{- if hasKey $wanted $variable.name }}{{ $_ := set $variable "value" (get $wanted $variable.name) }}{{ end -}}
{{- end -}}
{{- $env := .container.env -}}
{{- range $name, $value := .values.extraEnv -}}
  {{- if not (has $name $seen) }}{{ $env = append $env (dict "name" $name "value" (toString $value)) }}{{ end -}}
{{- end -}}
{{- $_ := set .container "env" $env -}}
{{- end -}}
