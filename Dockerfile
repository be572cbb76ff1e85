# maru in an image of its own: one static program, no shell, no root.
#
#   docker build -t maru .
#   docker run --read-only -p 127.0.0.1:8080:8080 -v maru-data:/data maru

# The release in go.mod; a test compares the two.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .
ARG TARGETOS
ARG TARGETARCH
# timetzdata: the final image has no time zones of its own.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -tags timetzdata -ldflags "-s -w" -o /out/maru ./cmd/maru
# Folders that a volume may be mounted over: a new volume takes owner and mode from here.
RUN mkdir -p /folders/data /folders/secrets && chmod 0700 /folders/data /folders/secrets

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /folders/ /
COPY --from=build /out/maru /maru
USER 65532:65532
ENV MARU_LISTEN=0.0.0.0:8080 MARU_DATA=/data
VOLUME ["/data"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["/maru", "health", "--url", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["/maru"]
CMD ["serve"]
