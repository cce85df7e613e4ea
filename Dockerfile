# Two stages: the native engine is compiled in the first, the second has no compiler, no headers and
# no pip. BASE is any Debian with Python 3.11 or newer and its venv; scripts/image makes one.
ARG BASE=docker.io/library/python:3.12-slim-bookworm
FROM ${BASE} AS build
# "--no-index --find-links /wheels" builds without a network.
ARG PIP_OPTIONS=""
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && { [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] \
        || apt-get install -y --no-install-recommends python3-dev; } \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /src/
COPY jingle_hnt /src/jingle_hnt
COPY config /src/config
COPY docs/man /src/docs/man
RUN python3 -m venv /opt/jingle-hnt \
    && /opt/jingle-hnt/bin/pip install --no-cache-dir ${PIP_OPTIONS} /src \
    && /opt/jingle-hnt/bin/python -c 'import jingle_hnt.plane.native' \
    && /opt/jingle-hnt/bin/python -m pip uninstall -y -q pip setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="jingle-hnt" \
    org.opencontainers.image.description="Hosted NAT traversal for XMPP Jingle calls" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/jingle-hnt /opt/jingle-hnt
# Writable are these two only: the rest may be mounted read-only.
RUN useradd --system --uid 990 --user-group --home-dir /var/lib/jingle-hnt --no-create-home jingle-hnt \
    && install -d -m 0700 -o jingle-hnt -g jingle-hnt /var/lib/jingle-hnt /run/jingle-hnt
ENV PATH=/opt/jingle-hnt/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 990:990
# Media wants the host's network, or a small range published one to one: see docs/docker.md.
VOLUME ["/var/lib/jingle-hnt", "/run/jingle-hnt"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["jingle-hnt", "status"]
ENTRYPOINT ["jingle-hnt"]
CMD ["run"]
