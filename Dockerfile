# By form alone: a test reads this file, nobody has built it where it was written (docs/report-audit-archive.md).
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home reader
WORKDIR /compendium
COPY --chown=reader . .
RUN chown reader /compendium
USER reader
RUN make env
CMD ["make", "reproduce"]
