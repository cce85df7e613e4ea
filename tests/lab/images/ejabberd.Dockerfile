# Stands in for ejabberd's own image where no registry is at hand: Debian's ejabberd under the same user id, with
# the same paths and the same CTL_ON_START.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d \
    && groupadd --system --gid 9000 ejabberd \
    && useradd --system --uid 9000 --gid 9000 --home-dir /opt/ejabberd ejabberd \
    && apt-get install -y --no-install-recommends ejabberd \
    && rm -rf /var/lib/apt/lists/* \
    && for dir in conf database logs .ejabberd-modules; do install -d -o ejabberd "/opt/ejabberd/$dir"; done \
    && ln -sf /opt/ejabberd/conf/ejabberd.yml /etc/ejabberd/ejabberd.yml \
    && install -d -o ejabberd /run/ejabberd && chown -R ejabberd /opt/ejabberd /etc/ejabberd
COPY --chmod=755 ejabberd-start /usr/local/bin/ejabberdctl
USER ejabberd
ENV HOME=/opt/ejabberd CONTRIB_MODULES_PATH=/opt/ejabberd/.ejabberd-modules
ENTRYPOINT ["ejabberdctl", "start-in-container"]
