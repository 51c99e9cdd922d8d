"""``lightrnn-serve``: serve a web page for a model on this machine, until interrupted."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

from omegaconf import DictConfig

from lightrnn_pl.checkpoint import load, resolve_checkpoint, resolve_device
from lightrnn_pl.checks import check_count
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.serving.model_info import model_info
from lightrnn_pl.serving.text_reader import TextReader

try:
    import uvicorn

    from lightrnn_pl.serving.app import build_app
except ModuleNotFoundError as missing:
    if missing.name not in ("starlette", "uvicorn"):
        raise
    raise ValueError(
        f"lightrnn-serve requires starlette and uvicorn, but {missing.name} is not installed; "
        "pip install 'lightrnn_pl[serve]'"
    ) from None

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def serve(config: DictConfig) -> None:
    """Serve the page of ``config.checkpoint`` on ``config.host`` and ``config.port``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        OSError: If the server cannot listen on the address.
        ValueError: If a setting is invalid; the message names the key.
    """
    check_count("port", config.port, at_least=0)
    if config.port > 65535:
        raise ValueError(f"port must be at most 65535 (0 selects any free port), got {config.port}")
    check_count("prefixes", config.prefixes)
    path = resolve_checkpoint(config.checkpoint)
    path = RunFolder(path).best if RunFolder(path).best.is_file() else path
    host = str(config.host)
    device = resolve_device(config.device)
    # Report an unavailable address before reading a large model.
    with listen(host, config.port) as listening:
        bundle = load(path, device, config.tokenizer)
        hosts = allowed_hosts(host, config.hosts)
        app = build_app(TextReader(bundle, config.prefixes), model_info(bundle, path), hosts)
        port = listening.getsockname()[1]
        listening.listen()  # from here on, early requests wait instead of being rejected
        print(f"http://{_in_url(_reachable(host))}:{port}/   (press Ctrl-C to stop)", flush=True)
        if not _is_loopback(host):
            print(
                f"warning: with host={host}, anyone who can reach this machine can use the model over an "
                f"unencrypted connection; allowed host names: {', '.join(hosts)} (to add others, pass hosts=[...])",
                file=sys.stderr,
                flush=True,
            )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn has closed everything and passes the signal on
            return


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; with port 0, to any free port.

    Raises:
        OSError: If this fails; the message names the key and the remedy.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"host={host} is not an address of this machine ({error}); use 127.0.0.1") from error
    # asyncio disables Nagle's algorithm, which delays each response by 40 ms, only if the protocol is set explicitly.
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                error.errno,
                f"port={port} of {host} is already in use; pass another port, or port=0 to select a free port",
            ) from error
        raise OSError(
            error.errno, f"cannot listen on host={host}, port={port}: {error.strerror}; pass another address"
        ) from error
    return listening


def allowed_hosts(host: str, others: object = None) -> list[str]:
    """Values of the Host header that are accepted: loopback names, the address, the host name, and ``others``.

    Raises:
        ValueError: If ``others`` is not a list of names.
    """
    if isinstance(others, str) or not all(isinstance(name, str) and name for name in others or []):  # type: ignore
        raise ValueError(f"hosts must be a list of names, such as [{others or 'models.example.org'}], got {others}")
    names = list(_LOOPBACK)
    if not _is_loopback(host):
        names.append(socket.gethostname())
    if not _is_wildcard(host):
        names.append(_in_url(host))
    names += list(others or [])  # type: ignore[call-overload]
    return list(dict.fromkeys(name.lower() for name in names))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def _reachable(host: str) -> str:
    """An address at which this machine can reach the server."""
    return "127.0.0.1" if _is_wildcard(host) else host


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
