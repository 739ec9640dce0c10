#!/usr/bin/env bash
# Runs `make image` on a Debian machine that has no container engine and perhaps no access to a registry. Run as root.
#   lab/scripts/build-image.sh          builds registry.molam/sira-inference:v1.0.0 into buildah's own store
#   lab/scripts/run-image.sh            then runs it as Kubernetes would
# Once the base image exists, `BUILDAH_ISOLATION=chroot bentoml containerize sira_inference:latest --backend buildah
# --opt isolation=chroot` works too; its image is nearly twice as large.
set -euo pipefail
cd "$(dirname "$0")/../.."

BASE=docker.io/library/python:3.11-slim

install_tools() {
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends buildah podman runc debootstrap >/dev/null
}

# Debian's Python 3.11 under the name of the official image, where that one cannot be pulled.
make_base() {
  local root container
  root=$(mktemp -d)
  trap 'rm -rf "$root"' RETURN
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" >/dev/null
  ln -s /usr/bin/python3 "$root/usr/local/bin/python"
  # As in the official image, pip may install packages: `bentoml containerize` begins with that.
  rm "$root"/usr/lib/python3.*/EXTERNALLY-MANAGED
  # The certificates that this machine trusts, including those of its mirrors.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  container=$(buildah from scratch)
  cp -a "$root/." "$(buildah mount "$container")/"
  buildah umount "$container" >/dev/null
  buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 \
    --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --env UV_SYSTEM_CERTS=true "$container"
  buildah commit --quiet --rm "$container" "$BASE"
}

install_tools
buildah inspect --type image "$BASE" >/dev/null 2>&1 || buildah pull --quiet "$BASE" || make_base
# Without an engine there is no namespace to build in: use a chroot.
BUILDAH_ISOLATION=chroot exec make image BACKEND=buildah "$@"
