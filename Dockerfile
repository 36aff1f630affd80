# docker build -t posthorn:0.1.0 .
#
# Three stages: one compiles, one installs what the service needs at run time, and the image has only what comes out of
# both. The version of Node is the one that the workspace is tested with; a test holds the two together.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /build
COPY . .
RUN npm ci
RUN npm run --silent build

FROM node:24.21.0-bookworm-slim AS dependencies
WORKDIR /build
COPY . .
RUN npm ci --omit=dev --omit=optional --workspace=posthorn --include-workspace-root=false

FROM node:24.21.0-bookworm-slim
WORKDIR /opt/posthorn
COPY --from=dependencies /build/node_modules ./node_modules
COPY --from=build /build/packages/server/package.json ./packages/server/package.json
COPY --from=build /build/packages/server/bin ./packages/server/bin
COPY --from=build /build/packages/server/dist ./packages/server/dist
COPY LICENSE ./LICENSE
# The data, and where to mount a place for backups and one for keys: a new volume takes its owner from here. Everything
# else may be read-only.
RUN install --directory --owner=1000 --group=1000 --mode=0700 /var/lib/posthorn /backups /keys
ENV NODE_ENV=production \
    PATH=/opt/posthorn/node_modules/.bin:/usr/local/bin:/usr/bin:/bin \
    POSTHORN_LISTEN=0.0.0.0:8080 \
    POSTHORN_DATABASE_URL=sqlite:/var/lib/posthorn/posthorn.db
# The image's user "node", by number: Kubernetes can't tell that a name isn't root.
USER 1000:1000
VOLUME /var/lib/posthorn
EXPOSE 8080
# Exit code 0 only when the database answers, too, and the service is neither starting nor stopping.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["posthorn", "ready"]
ENTRYPOINT ["posthorn"]
CMD ["serve"]
