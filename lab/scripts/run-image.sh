#!/usr/bin/env bash
# Runs the image as k8s/base does: without root and capabilities, and with only three writable folders.
#   lab/scripts/run-image.sh ENV_FILE [COMMAND...]
# ENV_FILE contains the settings, one NAME=value per line. Without a COMMAND the service starts; other commands are
# `python -m controller`, `python -m migrations up` and `python -m registry list`.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }

environment=$1
shift
# The container shares this machine's network and the folder of a file:// bucket, to reach them and a local Postgres.
bucket=$(sed -n 's|^MODEL_BUCKET=file://||p' "$environment")
exec podman --runtime runc run --rm --network host \
  --read-only --tmpfs /tmp --volume /models --volume /spool ${bucket:+--volume "$bucket:$bucket:ro"} \
  --cap-drop ALL --security-opt no-new-privileges --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 \
  --env-file "$environment" --env MODEL_DIR=/models --env SPOOL_DIR=/spool --env BENTOML_HOME=/tmp/bentoml \
  --name "${CONTAINER:-sira-inference}" "${IMAGE:-registry.molam/sira-inference:v1.0.0}" "$@"
