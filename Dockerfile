# One image for every part of a mesh; what it can do follows from its arguments:
#
#   docker build --tag lanemesh .                                                        orchestrator, arbiter, light services
#   docker build --tag lanemesh-llm --build-arg EXTRAS=llm --build-arg MODELS=smollm2 .  with a language model
#   docker build --tag lanemesh-crewai --build-arg ENVIRONMENTS=crewai .                 with the environment of a service
#
# It has no feature of BuildKit, so that every builder builds it.
FROM python:3.11-slim

# Extras of the package, separated by commas, such as "llm" or "transformers".
ARG EXTRAS=""
# Services with a Python environment of their own to put in, separated by spaces, such as "crewai".
ARG ENVIRONMENTS=""
# Models to put in, separated by spaces, as `lanemesh models` names them.
ARG MODELS=""

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 HOME=/var/lib/lanemesh

WORKDIR /opt/lanemesh
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sdk sdk
COPY orchestrator orchestrator
COPY services services
RUN python -m pip install --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"
RUN for service in $ENVIRONMENTS; do lanemesh env create "$service" || exit 1; done
RUN for model in $MODELS; do lanemesh models get "$model" || exit 1; done

# Pipelines name files beside them, such as agent_tools.py of agent.pipe; node servers read relative paths from where they run.
COPY examples examples
WORKDIR /opt/lanemesh/examples
RUN mkdir -p "$HOME" && chown 10001:10001 "$HOME"
USER 10001:10001

ENTRYPOINT ["lanemesh"]
CMD ["--help"]
