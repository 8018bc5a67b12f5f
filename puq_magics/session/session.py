"""State of one shell: settings, keys, router, sandbox, last result."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL
from puq_magics.core.errors import APIError, BudgetError, ConfigurationError, MissingKeyError, PuqError
from puq_magics.core.fork import after_fork
from puq_magics.session.cell_history import CellHistory
from puq_magics.session.cell_tracker import CellTracker
from puq_magics.session.conversations import Conversations
from puq_magics.session.credentials import Credential, Credentials
from puq_magics.session.sandbox import SandboxManager
from puq_magics.session.settings import (
    MODEL_KINDS,
    SANDBOX,
    EffectiveSettings,
    PuqMagics,
    is_sandbox,
    model_setting,
)

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.core.secret import Secret
    from puq_magics.outputs.results.base import Displayable, Result
    from puq_magics.sandbox import Sandbox
    from puq_magics.session.account import Account
    from puq_magics.session.budget import CallInfo, CostTracker
    from puq_magics.session.cassette import CassetteRecorder
    from puq_magics.session.ledger import Ledger
    from puq_magics.session.model_list import RouterFactory
    from puq_magics.session.policy import Policy
    from puq_magics.session.sandbox import SandboxBackends


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Settings that a router depends on; another one is made when they change."""

    address: BaseURL
    key: Secret | None
    auth_scheme: str
    timeout: float | None
    max_retries: int
    #: Settings of the cassette that the transport depends on; None without a cassette.
    cassette: tuple[Any, ...] | None

    @property
    def account_key(self) -> tuple[Any, ...]:
        """Return what tells one account from another."""
        return self.address, self.key, self.cassette


class NextCell:
    """Cell that an execution adds below itself: front ends create at most one, from the last text sent."""

    def __init__(self, shell: InteractiveShell, cell_tracker: CellTracker) -> None:
        self._shell = shell
        self._cell_tracker = cell_tracker
        self._execution = -1
        self._codes: list[str] = []
        self._cells_with_code: set[str] = set()
        # Hint for a cell that runs again: no front end lets a kernel replace the cell that it made before. With
        # `replace=True` JupyterLab and Notebook put the code into the cell that runs, and it would lose its prompt.
        self._hint = ""

    def add(self, code: str) -> str:
        """Append code to the cell; return where it is, for a note."""
        execution_number = self._cell_tracker.execution_number
        if execution_number != self._execution:
            self._execution, self._codes = execution_number, []
            cell_name = self._cell_tracker.name
            self._hint = "; the earlier cell is below it" if cell_name in self._cells_with_code else ""
            self._cells_with_code.add(cell_name)
        self._codes.append(code)
        first, *others = self._codes
        parts = [first, *(f"# --- answer {number} ---\n{code}" for number, code in enumerate(others, 2))]
        self._shell.set_next_input("\n\n".join(parts), replace=False)
        return f"{'added to' if others else 'in'} the cell below, not run{self._hint}"


_COSTS_KEY, _KEY_URLS_KEY, _POLICY_KEY = "puq_magics.spent", "puq_magics.key_urls", "puq_magics.policy"
#: Stands for the router while a cassette answers in its place, wherever the notebook is replayed.
_REPLAY_URL = "https://replay.invalid"
_QUICK_TIMEOUT = 10.0  # seconds, for what nobody waits for
#: Variable that holds the last result.
LAST_RESULT = "_puq"


class Session:
    """Session of one shell: created by ``%load_ext``, closed by ``%unload_ext``."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.settings = _settings(shell)
        key_urls: dict[int, str] = shell.meta.setdefault(_KEY_URLS_KEY, {})
        self.effective = EffectiveSettings(self.settings, key_urls=key_urls)
        self.credentials = Credentials(self.effective)
        self.conversations = Conversations.for_shell(shell)
        self.cell_tracker = self.conversations.cell_tracker
        self.next_cell = NextCell(shell, self.cell_tracker)
        self.cells = CellHistory(shell, self.cell_tracker)
        self.sandbox_manager = SandboxManager(self.credentials)
        #: Functions all of whose calls the user allowed, each with the number of the execution.
        self.approved_tools: set[tuple[int, str]] = set()
        #: Base URL that was set before the sandbox replaced it.
        self.url_before_sandbox: str | None = None
        self._displayed: list[Displayable] = []
        self._reset_lock()
        after_fork(self, Session._reset_lock)
        self._cassette: CassetteRecorder | None = None
        self._router: Router | None = None
        self._router_config: RouterConfig | None = None
        self._accounts: dict[tuple[Any, ...], Account] = {}
        # Kept with the shell: reloading the extension does not reset a budget.
        self._cost_trackers: dict[str, CostTracker] = shell.meta.setdefault(_COSTS_KEY, {})
        self._ledger: Ledger | None = None
        self._ledger_at: str | None = None
        shell.events.register("post_run_cell", self._after_cell)

    def _reset_lock(self) -> None:
        self._lock = threading.RLock()  # a Tab looks for models in a thread of its own

    @property
    def sandbox(self) -> Sandbox | None:
        """Sandbox, while it runs."""
        return self.sandbox_manager.sandbox

    @property
    def namespace(self) -> Mapping[str, Any]:
        """Variables of the user."""
        variables: Mapping[str, Any] = self.shell.user_ns
        return variables

    @property
    def in_notebook(self) -> bool:
        """Return whether outputs go to a front end, not to a terminal."""
        return hasattr(self.shell, "kernel")

    def store_result(self, result: object, name: str | None = None) -> None:
        """Store a result in ``_puq``, and in the variable that the user named."""
        self.shell.push({LAST_RESULT: result}, interactive=False)
        if name is not None:
            self.shell.push({name: result})

    def mark_displayed(self, result: Displayable, *, is_quiet: bool = False) -> None:
        """Mark a result as displayed by the running cell, which then does not display it as its value.

        A quiet result is only kept from being displayed as the value of its own magic.
        """
        if is_quiet and not self.cell_tracker.ends_with_magic:
            return
        result.already_displayed = True
        self._displayed.append(result)

    def _after_cell(self, *_: object) -> None:
        for result in self._displayed:
            result.already_displayed = False
        self._displayed.clear()

    @property
    def cassette(self) -> CassetteRecorder:
        """The cassette that records or replays, if its mode is not ``off``."""
        if self._cassette is None:
            from puq_magics.session.cassette import CassetteRecorder

            self._cassette = CassetteRecorder(self.effective, self.cell_tracker, self.namespace)
        return self._cassette

    @property
    def has_cassette(self) -> bool:
        """True if a cassette records or replays. Raises ConfigurationError."""
        return self.effective.cassette_mode != "off"

    @property
    def is_replaying(self) -> bool:
        """True if no request is sent: a cassette answers. Raises ConfigurationError."""
        return self.effective.cassette_mode in ("replay", "none")

    def address(self) -> BaseURL:
        """Return the router's base URL; starts the sandbox if that is the router. Raises ConfigurationError."""
        if self.is_replaying:
            return BaseURL.parse(_REPLAY_URL)
        if self.effective.is_sandbox:
            return BaseURL.parse(self.start_sandbox().base_url)
        return BaseURL.parse(self.effective.base_url, allow_http=self.settings.allow_http)

    @property
    def url_outside_sandbox(self) -> str | None:
        """Return the setting ``base_url`` for the router that is used without the sandbox."""
        if not self.effective.is_sandbox:
            return self.settings.base_url
        if self.url_before_sandbox is None and is_sandbox(self.effective.environment_url):
            return DEFAULT_BASE_URL
        return self.url_before_sandbox

    def leave_sandbox(self) -> None:
        """Use the router that was set before the sandbox, or the default one; the sandbox goes on running."""
        self.settings.base_url, self.url_before_sandbox = self.url_outside_sandbox, None

    def router(self, *, allow_keyless: bool = False) -> Router:
        """Return the router; a new one if a setting or the key has changed. Raises ConfigurationError.

        ``allow_keyless`` permits a router without a key: to show a request, not to send it.
        """
        return self._open_router(self._current_config(allow_keyless=allow_keyless))

    def _current_config(self, *, allow_keyless: bool = False) -> RouterConfig:
        address = self.address()
        credential = self.credentials.find(address) if allow_keyless else self.credential(address)
        return RouterConfig(
            address=address,
            key=None if credential is None else credential.key,
            auth_scheme=self._auth_scheme(address),
            timeout=self.effective.timeout,
            max_retries=self.settings.max_retries,
            cassette=self._cassette_config(),
        )

    def _auth_scheme(self, address: BaseURL) -> str:
        return "Token" if address.origin == self.sandbox_manager.origin else self.effective.auth_scheme

    def _open_router(self, config: RouterConfig) -> Router:
        """Return the router of a configuration, which replaces that of another one."""
        with self._lock:
            if self._router is None or self._router_config != config:
                self._close_router()
                self._router = self._make_router(config)
                self._router_config = config
                if self.has_cassette and not self.is_replaying:
                    self._keep_default_models()
            return self._router

    def _cassette_config(self) -> tuple[Any, ...] | None:
        """Return what the transport depends on with a cassette; None without one."""
        mode = self.effective.cassette_mode
        if mode == "off":
            return None
        recorder = self.cassette
        return mode, recorder.cassette.folder, self.effective.cassette_pace, recorder.errors

    def _make_router(self, config: RouterConfig) -> Router:
        from puq_magics.api.client import Router
        from puq_magics.api.transport import RequestsTransport

        def make_transport() -> RequestsTransport:
            return RequestsTransport(
                config.address, config.key, auth_scheme=config.auth_scheme, max_retries=config.max_retries
            )

        transport = (
            self.cassette.wrap(make_transport, config.address, self._redact_text)
            if self.has_cassette
            else make_transport()
        )
        return Router(transport=transport, timeout=config.timeout)

    def _keep_default_models(self) -> None:
        """Record the default models, which a replay uses without a router."""
        models = {kind: self.default_model(kind) for kind in MODEL_KINDS if model_setting(kind)}
        self.cassette.record_default_models({kind: model for kind, model in models.items() if model})

    def account(self) -> Account:
        """Return the account of the router used last. Raises ConfigurationError."""
        config = self._current_config()
        self._open_router(config)
        with self._lock:
            if config.account_key not in self._accounts:
                from puq_magics.session.account import Account
                from puq_magics.session.budget import CostTracker

                origin = config.address.origin
                # The sandbox has another port each time it is started.
                budget_key = SANDBOX if origin == self.sandbox_manager.origin else origin
                costs = self._cost_trackers.setdefault(budget_key, CostTracker())
                self._accounts[config.account_key] = Account(
                    self._router_factory(config), self.settings, costs
                )
            return self._accounts[config.account_key]

    def reset_router(self) -> None:
        """Drop the router with its key and all cached facts."""
        with self._lock:
            self._close_router()
            self._router_config = None
            self._accounts.clear()

    def _router_factory(self, config: RouterConfig) -> RouterFactory:
        """Create routers for the same account, by the settings at that time."""

        def connect(*, quick: bool = False) -> Router:
            timeout, retries = self.effective.timeout, self.settings.max_retries
            if quick:
                timeout, retries = min(timeout or _QUICK_TIMEOUT, _QUICK_TIMEOUT), 0
            scheme = self._auth_scheme(config.address)
            return self._make_router(
                replace(config, auth_scheme=scheme, timeout=timeout, max_retries=retries)
            )

        return connect

    def credential(self, address: BaseURL) -> Credential | None:
        """Return the key for a host.

        None for a server on this machine, or one that needs none. Raises MissingKeyError.
        """
        credential = self.credentials.find(address)
        if credential is not None or address.is_loopback or self.effective.auth_scheme == "none":
            return credential
        if self.is_replaying:
            return None
        elsewhere = self.credentials.environment_key_origin(address)
        because = f" (PUQ_API_KEY is for {elsewhere})" if elsewhere else ""
        raise MissingKeyError(
            f"there is no API key for {address.host}{because}.",
            hint="%puq_login takes one; %puq_sandbox starts a local router that needs none.",
        )

    @property
    def policy(self) -> Policy | None:
        """Policy in force, if any; it stays, also after ``%reload_ext``. Raises ConfigurationError."""
        policy: Policy | str = self.shell.meta.get(_POLICY_KEY) or self.effective.policy_path
        if isinstance(policy, str):
            return self.load_policy(policy) if policy else None
        return policy

    def load_policy(self, path: str) -> Policy:
        """Put a policy in force; reading the same file again keeps its counts. Raises ConfigurationError."""
        from puq_magics.session.policy import Policy

        before: Policy | str | None = self.shell.meta.get(_POLICY_KEY)
        if before is None or isinstance(before, str):
            before, self.shell.meta[_POLICY_KEY] = None, path  # no call is made until it can be read
        try:
            policy = Policy.load(path)
        except ConfigurationError as error:
            in_force = (
                f"The policy {before.name} stays in force."
                if before
                else "No calls are made until it can be read."
            )
            error.extend_hint(in_force)
            raise
        if before is not None and before.path != policy.path:
            raise ConfigurationError(
                f"the policy {before.name} is in force.", hint="To load another one, restart the kernel."
            )
        if before is not None:
            policy.counts = before.counts
        self.shell.meta[_POLICY_KEY] = policy
        return policy

    @property
    def budget(self) -> float | None:
        """Credits that the session may spend: by the settings and the policy; None for no limit."""
        budgets = [self.settings.budget, None if self.policy is None else self.policy.budget]
        return min((each for each in budgets if each is not None), default=None)

    @property
    def spent(self) -> float:
        """Credits that the session has spent at all routers."""
        return sum(costs.spent for costs in self._cost_trackers.values())

    @property
    def max_tokens(self) -> int | None:
        """Limit on the tokens of an answer where the user names none; None for no limit."""
        policy_limit = None if self.policy is None else self.policy.max_tokens
        limit: int | None = self.settings.max_tokens
        return policy_limit if limit is None else limit

    @contextmanager
    def reserve(
        self, account: Account, info: CallInfo, *, over_budget: bool = False, refresh: bool = True
    ) -> Iterator[None]:
        """Check a call against the policy and the budget, count it, and reserve its cost while it runs.

        ``over_budget`` lifts the budget of the settings, not that of the policy; with ``refresh`` the balance is
        fetched first. Raises PolicyError, BudgetError and ConfigurationError.
        """
        policy, budget = self.policy, self.budget
        limit = None if policy is None else policy.budget
        if over_budget and limit is not None:
            budget, over_budget = limit, False
        if policy is not None:
            policy.check(info)  # before the budget: the teacher's words come first
        with ExitStack() as reservation:
            try:
                reservation.enter_context(
                    account.reserve(info, budget, over_budget=over_budget, refresh=refresh)
                )
            except BudgetError as error:
                if policy is None or budget != limit:
                    raise
                raise policy.refuse_cost(error) from None
            if policy is not None:
                policy.admit(info)
            yield

    def redact(self, result: Result, problem: BaseException | None = None) -> None:
        """Take the policy's solutions out of an answer, and out of the partial one of the error that ended it."""
        if self.policy is None:
            return
        self.policy.redact_result(result)
        if isinstance(problem, PuqError) and isinstance(problem.partial, str):
            problem.partial = self.policy.redact(problem.partial)

    def _redact_text(self, text: str) -> str:
        """Take the policy's solutions out of a text."""
        return text if self.policy is None else self.policy.redact(text)

    @property
    def hides_solutions(self) -> bool:
        """True if answers are shown only when complete, as the policy has solutions to remove from them."""
        return self.policy is not None and bool(self.policy.solutions)

    def system_prompt(self, requested: str | None, stored: str | None = None) -> str:
        """Return the system prompt in force: of the policy, else as requested, of the conversation, or the settings.

        Raises PolicyError if the policy fixes another one than is requested.
        """
        if self.policy is not None and self.policy.system:
            return self.policy.resolve_system(requested)
        return (stored or self.settings.system or "") if requested is None else requested

    def model(self, kind: str, named: str | None, *, suggest_models: bool = True) -> str:
        """Return the model of a kind: the named one, else that of the settings; aliases are resolved.

        Raises ConfigurationError without one; with ``suggest_models`` it lists some of the router's.
        """
        model = named or self.default_model(kind)
        if not model:
            raise self._no_model_error(kind, suggest_models)
        return str(self.settings.aliases.get(model, model))

    def default_model(self, kind: str) -> str | None:
        """Return the default model of a kind; on the sandbox one of its own, if its upstream can be listed."""
        model = self.effective.model(kind)
        if self.is_replaying:
            return self.settings.trait_values().get(
                model_setting(kind)
            ) or self.cassette.default_models().get(kind, model)
        if not self.effective.is_sandbox:
            return model
        sandbox = self.start_sandbox()
        if model and sandbox.has_model(self.settings.aliases.get(model, model)):
            return model
        if kind == "chat" and sandbox.upstream_error:
            return None
        return next((str(code) for known, code in sandbox.default_models.items() if known == kind), None)

    @property
    def ledger(self) -> Ledger:
        """Ledger of calls: of this session in memory, and in a file unless the settings say otherwise."""
        where = None if self.is_replaying else self.effective.ledger_path  # replays cost nothing
        with self._lock:  # several calls at once may ask for it first
            if self._ledger is None or self._ledger_at != where:
                from puq_magics.session.ledger import Ledger

                before, path = self._ledger, Path(where) if where else None
                self._close_ledger()
                self._ledger, self._ledger_at = (
                    Ledger(path, enabled=where is not None, previous=before),
                    where,
                )
            return self._ledger

    def close(self) -> None:
        """Close the connections and stop the sandbox."""
        self.shell.events.unregister("post_run_cell", self._after_cell)
        self.cells.close()
        self.conversations.close()
        self._close_router()
        self._close_ledger()
        if self._cassette is not None:
            self._cassette.close()
        self.stop_sandbox()

    def start_sandbox(self, backends: SandboxBackends | None = None, **behavior: Any) -> Sandbox:
        """Start the sandbox or change the running one, and use it.

        ``backends`` are to answer behind it; else those that do, and what the base URL names. Raises ValueError for a
        move that does not fit, and ConfigurationError where the local models are missing.
        """
        backends = backends or self.sandbox_manager.requested_backends(self.effective.base_url)
        return self.sandbox_manager.start(backends, **behavior)

    def stop_sandbox(self) -> bool:
        """Stop the sandbox; return False if it was not running."""
        return self.sandbox_manager.stop()

    def _close_router(self) -> None:
        router, self._router = self._router, None
        if router is not None:
            router.close()

    def _close_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    def _no_model_error(self, kind: str, suggest_models: bool) -> PuqError:
        from puq_magics.session.account import available_models

        setting = model_setting(kind)
        hint = f"Name one with -m, or for the session: %config PuqMagics.{setting} = 'provider/model'"
        try:
            listed = available_models(self.account(), kind) if suggest_models else ""
        except (APIError, KeyboardInterrupt):  # it ends in an error all the same
            listed = ""
        words = "no model is set" if kind == "chat" else f"no {kind} model is set"
        if kind == "chat" and self.sandbox is not None and (problem := self.sandbox.upstream_error):
            words += f": the upstream's models cannot be listed ({problem.rstrip('.')})"
        return ConfigurationError(f"{words}.{listed}", hint=hint)


def _settings(shell: InteractiveShell) -> PuqMagics:
    """Return the settings, including those of the configuration files. Raises ConfigurationError."""
    try:
        return PuqMagics(parent=shell)
    except TraitError as error:
        hint = "Correct c.PuqMagics in IPython's configuration file."
        raise ConfigurationError(f"invalid setting: {error}", hint=hint) from None
