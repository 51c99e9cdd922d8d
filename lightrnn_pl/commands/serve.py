"""What ``lightrnn-serve`` does: a model behind a page on this machine, until it is interrupted."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

from omegaconf import DictConfig

from lightrnn_pl.checkpoint import load, named_checkpoint, named_device
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
        f"the page is served by starlette and uvicorn, and {missing.name} is not installed; "
        "pip install 'lightrnn_pl[serve]'"
    ) from None

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def serve(config: DictConfig) -> None:
    """Serve the page of ``config.checkpoint`` on ``config.host`` and ``config.port``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        OSError: If the address cannot be listened at.
        ValueError: Naming the key, for what cannot be served.
    """
    check_count("port", config.port, at_least=0)
    if config.port > 65535:
        raise ValueError(f"port must be at most 65535 (0 for any free one), got {config.port}")
    check_count("prefixes", config.prefixes)
    path = named_checkpoint(config.checkpoint)
    path = RunFolder(path).best if RunFolder(path).best.is_file() else path
    host = str(config.host)
    device = named_device(config.device)
    # Report an unavailable address before reading a large model.
    with listen(host, config.port) as listening:
        bundle = load(path, device)
        hosts = allowed_hosts(host, config.hosts)
        app = build_app(TextReader(bundle, config.prefixes), model_info(bundle, path), hosts)
        port = listening.getsockname()[1]
        listening.listen()  # who follows the address at once waits, and is not turned away
        print(f"http://{_in_url(_reachable(host))}:{port}/   (Ctrl-C ends it)", flush=True)
        if not _is_loopback(host):
            print(
                f"warning: host={host} lets everybody who can reach this machine read and use the model, unencrypted; "
                f"answers to the names {', '.join(hosts)} (hosts=[...] adds others)",
                file=sys.stderr,
                flush=True,
            )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn has closed everything and passes the signal on
            return


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes any free one.

    Raises:
        OSError: Naming the key and the remedy.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"host={host} is no address of this machine ({error}); 127.0.0.1 is") from error
    # With the protocol named asyncio switches Nagle's algorithm off, which would hold every answer for 40 ms.
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                error.errno, f"port={port} of {host} is taken by another program; choose another, or port=0 for any"
            ) from error
        raise OSError(
            error.errno, f"cannot listen at host={host}, port={port}: {error.strerror}; choose others"
        ) from error
    return listening


def allowed_hosts(host: str, others: object = None) -> list[str]:
    """The host names that requests may name: loopback's, the given address, this machine's name, and ``others``.

    Raises:
        ValueError: If ``others`` is no list of names.
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
    """Where the page is found from this machine."""
    return "127.0.0.1" if _is_wildcard(host) else host


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
