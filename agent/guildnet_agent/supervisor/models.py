"""A start and its model: which endpoint it may use, what it used, and that its budget is spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guildnet.agent_api.state import StartId
from guildnet.errors import ConfigurationError
from guildnet_agent.exchange import NOTICES, open_new
from guildnet_agent.job import JobModel
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git.mounted_secret import read_value
from guildnet_agent.supervisor.model_gateway.access import ModelEndpoint, parse_endpoint
from guildnet_agent.supervisor.model_gateway.budget import parse_budget
from guildnet_agent.supervisor.model_gateway.gateway import ModelGateway
from guildnet_agent.supervisor.model_gateway.ledger import Ledger, parse_ledger
from guildnet_agent.supervisor.model_gateway.session import GatewaySession, new_client_key
from guildnet_agent.supervisor.model_gateway.usage_store import UsageStore
from guildnet_agent.supervisor.state_board import StateBoard
from guildnet_agent.supervisor.task import Spec, read_task

log = logging.getLogger(__name__)


class Models:
    """Opens the gateway for a start, and closes it behind it."""

    def __init__(
        self, gateway: ModelGateway, store: UsageStore, board: StateBoard, settings: Settings
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._board = board
        self._settings = settings
        self._session: GatewaySession | None = None
        self._showing: asyncio.TimerHandle | None = None

    def endpoint(self) -> ModelEndpoint | None:
        """The task's model as its org has it now; None without one. ConfigurationError."""
        given = read_task(self._settings.agent_dir).model
        if given is None:
            return None
        folder = self._settings.model_dir
        return parse_endpoint(given, _read_key(folder / "api-key"), read_value(folder / "ca.crt"))

    def job_model(self, spec: Spec, endpoint: ModelEndpoint) -> JobModel:
        """What the command is given. ConfigurationError for a name that is not allowed."""
        name = spec.get("agent", {}).get("model", {}).get("name", endpoint.names[0])
        if name not in endpoint.names:
            raise ConfigurationError(
                f"model {name!r} is not among the names of the org's model",
                place="agent.model.name",
                cure=f"use one of: {', '.join(endpoint.names)}",
            )
        base_url = f"http://127.0.0.1:{self._settings.gateway_port}"
        return JobModel(tuple(endpoint.protocols), base_url, name, new_client_key())

    def open(
        self,
        start: StartId,
        model: JobModel | None,
        spec: Spec,
        spent: Any,
        exhausted: Callable[[str], None],
    ) -> None:
        """Serve this start, if it has a model. ``spent`` is what earlier pods of the run used.

        ConfigurationError when its endpoint is not usable any more.
        """
        endpoint = self.endpoint() if model else None
        if model is None or endpoint is None:
            return
        self._session = GatewaySession(
            endpoint,
            model.key,
            parse_budget(spec.get("agent", {}).get("budget", {})),
            self._ledger(start.run, spent),
            lambda ledger: self._changed(start.run, ledger),
            exhausted,
            self.notice,
        )
        self._gateway.open(self._session)
        self._show()

    async def close(self) -> None:
        """No more requests; what was used is on disk and on the board."""
        self._gateway.close()
        await self._gateway.drained()
        await self._store.flush()
        self._show()
        self._session = None

    @property
    def usage(self) -> dict[str, Any] | None:
        """The run's usage as the gateway counted it; None where no model was used."""
        usage = self._board.state.usage
        return dict(usage) if usage else None

    def notice(self, text: str) -> None:
        """A line in the command's log."""
        log.warning("%s", text)
        try:
            with open(self._settings.exchange_in / NOTICES, "a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        except OSError as error:
            log.warning("the command's log gets no notice: %s", error.strerror)

    def forget_notices(self) -> None:
        """Before a new start: those of the one before are not its own."""
        self._settings.exchange_in.mkdir(parents=True, exist_ok=True)
        with open(open_new(self._settings.exchange_in / NOTICES), "wb"):
            pass

    def _ledger(self, run: int, spent: Any) -> Ledger:
        """The larger of what is on our disk and what the operator knows: both only grow."""
        ledgers = [self._store.read(run) or Ledger()]
        try:
            ledgers += [parse_ledger(spent)] if spent else []
        except ValueError as error:
            log.error("the run's earlier usage is not readable: %s", error)
        return max(ledgers, key=lambda ledger: (ledger.total.requests, ledger.total.tokens))

    def _changed(self, run: int, ledger: Ledger) -> None:
        self._store.keep(run, ledger)
        if self._showing is None:
            loop = asyncio.get_running_loop()
            self._showing = loop.call_later(self._settings.usage_seconds, self._show)

    def _show(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            self._showing = None
        if self._session is not None:
            self._board.change(usage=self._session.ledger.to_json())


def _read_key(path: Path) -> str:
    key = read_value(path)
    if key is None:
        raise ConfigurationError(
            "the model's key is missing or empty",
            place=str(path),
            cure="set it with `guildnet secret set ORG NAME --use model --host HOST`",
        )
    return key
