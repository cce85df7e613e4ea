# Two stages: the native engine is compiled in the first, the second has no compiler.
ARG BASE=docker.io/library/python:3.12-slim-bookworm
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /src/
COPY jingle_hnt /src/jingle_hnt
RUN python3 -m venv /opt/jingle-hnt && /opt/jingle-hnt/bin/pip install --no-cache-dir /src

FROM ${BASE}
COPY --from=build /opt/jingle-hnt /opt/jingle-hnt
RUN useradd --system --uid 990 --home-dir /var/lib/jingle-hnt --create-home jingle-hnt \
    && install -d -o jingle-hnt /run/jingle-hnt
USER jingle-hnt
ENV PATH=/opt/jingle-hnt/bin:$PATH PYTHONUNBUFFERED=1
# Media wants the host's network (--network host) or a small range published one to one.
VOLUME ["/var/lib/jingle-hnt", "/run/jingle-hnt"]
HEALTHCHECK --interval=30s --timeout=5s CMD ["jingle-hnt", "status"]
ENTRYPOINT ["jingle-hnt"]
CMD ["run"]
