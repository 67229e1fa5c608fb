# syntax=docker/dockerfile:1
#
# docker build --build-arg BASE=docker.io/library/python:3.13-bookworm@sha256:... -t ghcr.io/bubustack/bobrapet .
# docker build --build-arg BASE=... --target engram --build-arg ENGRAM=http_client -t ghcr.io/bubustack/engram-http .
#
# BASE is where the files come from: a Python on Debian with pip and binutils, named by digest, so that a build next year
# takes the same. None of it but the interpreter and its libraries is in the image: hack/image/make_root copies those,
# and hack/image-check proves it.
ARG BASE

FROM ${BASE} AS source
ARG BASE
RUN case "${BASE}" in *@sha256:*) ;; *) echo "BASE must name its digest: name:tag@sha256:..." >&2; exit 1 ;; esac
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
COPY hack/image ./hack/image
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}

FROM source AS engram-root
ARG ENGRAM
RUN python3 hack/image/make_root "${ENGRAM:?a module of bobrapet.engrams}" /root-of-image

FROM source AS manager-root
RUN python3 hack/image/make_root manager /root-of-image

FROM scratch AS engram
ARG ENGRAM VERSION=0.1.0 REVISION=""
LABEL org.opencontainers.image.title="bobrapet engram ${ENGRAM}" \
    org.opencontainers.image.description="A shipped component of the bobrapet workflow engine" \
    org.opencontainers.image.source="https://github.com/bubustack/bobrapet" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=engram-root /root-of-image /
USER 65532:65532
ENTRYPOINT ["/engram"]

# Last, so that it is what a build without --target makes.
FROM scratch AS manager
ARG VERSION=0.1.0 REVISION=""
LABEL org.opencontainers.image.title="bobrapet" \
    org.opencontainers.image.description="The operator of the bobrapet workflow engine" \
    org.opencontainers.image.source="https://github.com/bubustack/bobrapet" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=manager-root /root-of-image /
USER 65532:65532
ENTRYPOINT ["/manager"]
