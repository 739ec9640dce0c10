# The image of every process: the Bento of bentofile.yaml, its locked packages and curl, without the compilers that
# `bentoml containerize` would leave in it. `make image` builds it and adds the commit.
FROM python:3.11-slim AS bento
ENV BENTOML_DO_NOT_TRACK=True ORT_DISABLE_TELEMETRY=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /app/.venv
COPY requirements-image.lock /source/
RUN /app/.venv/bin/pip install --quiet --require-hashes -r /source/requirements-image.lock
COPY . /source
ARG VERSION=v1.0.0
ARG COMMIT=unknown
RUN cd /source && /app/.venv/bin/bentoml build --label version=$VERSION --label commit=$COMMIT \
 && mkdir -p /home/bentoml \
 && cp -r "$(/app/.venv/bin/bentoml get sira_inference:latest -o path)" /home/bentoml/bento \
 && chmod +x /home/bentoml/bento/env/docker/entrypoint.sh

FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
 && groupadd -g 1034 bentoml && useradd -u 1034 -g bentoml -d /home/bentoml -M bentoml \
 && mkdir /models /spool && chown bentoml:bentoml /models /spool
COPY --from=bento /app/.venv /app/.venv
COPY --from=bento /home/bentoml/bento /home/bentoml/bento
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    BENTO_PATH=/home/bentoml/bento PYTHONPATH=/home/bentoml/bento/src BENTOML_HOME=/tmp/bentoml \
    BENTOML_CONTAINERIZED=true BENTOML_DO_NOT_TRACK=True ORT_DISABLE_TELEMETRY=1
ARG VERSION=v1.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="sira-inference" org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
WORKDIR /home/bentoml/bento
# A number, because Kubernetes cannot verify that a user name is not root.
USER 1034:1034
EXPOSE 8080 3000
ENTRYPOINT ["/home/bentoml/bento/env/docker/entrypoint.sh"]
