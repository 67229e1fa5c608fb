"""URLs, IP addresses and networks."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import EvaluationError
from bobrapet.local.apiserver.cel.functions import Functions, double_traversal, traversal
from bobrapet.local.apiserver.cel.types import BOOL, CIDR, INT, IP, STRING, URL
from bobrapet.local.apiserver.cel.values import Address, Network, Url


def declare(functions: Functions) -> None:
    """Adds this family."""
    _declare_urls(functions)
    add, method = functions.add, functions.method
    add("ip", "string_to_ip", (STRING,), IP, parsed_ip, cost=traversal)
    add("isIP", "is_ip", (STRING,), BOOL, _holds(parsed_ip), cost=traversal)
    add("ip.isCanonical", "ip_is_canonical", (STRING,), BOOL, lambda s: str(parsed_ip(s)) == s, cost=double_traversal)
    method("family", "ip_family", (IP,), INT, lambda a: a.value.version)
    method("isUnspecified", "ip_is_unspecified", (IP,), BOOL, lambda a: a.value.is_unspecified)
    method("isLoopback", "ip_is_loopback", (IP,), BOOL, lambda a: a.value.is_loopback)
    method("isLinkLocalMulticast", "ip_is_link_local_multicast", (IP,), BOOL, _is_link_local_multicast)
    method("isLinkLocalUnicast", "ip_is_link_local_unicast", (IP,), BOOL, lambda a: a.value.is_link_local)
    method("isGlobalUnicast", "ip_is_global_unicast", (IP,), BOOL, _is_global_unicast)
    add("cidr", "string_to_cidr", (STRING,), CIDR, _parsed_cidr, cost=traversal)
    add("isCIDR", "is_cidr", (STRING,), BOOL, _holds(_parsed_cidr), cost=traversal)
    method("containsIP", "cidr_contains_ip_string", (CIDR, STRING), BOOL, lambda c, s: _contains_ip(c, parsed_ip(s)))
    method("containsIP", "cidr_contains_ip_ip", (CIDR, IP), BOOL, _contains_ip)
    method("containsCIDR", "cidr_contains_cidr_string", (CIDR, STRING), BOOL,
           lambda c, s: _contains_cidr(c, _parsed_cidr(s)))  # fmt: skip
    method("containsCIDR", "cidr_contains_cidr", (CIDR, CIDR), BOOL, _contains_cidr)
    method("ip", "cidr_ip", (CIDR,), IP, lambda c: Address(c.value.ip))
    method("prefixLength", "cidr_prefix_length", (CIDR,), INT, lambda c: c.value.network.prefixlen)
    method("masked", "cidr_masked", (CIDR,), CIDR, lambda c: Network(ipaddress.ip_interface(str(c.value.network))))


def _declare_urls(functions: Functions) -> None:
    functions.add("url", "string_to_url", (STRING,), URL, _parsed_url, cost=traversal)
    functions.add("isURL", "is_url_string", (STRING,), BOOL, _holds(_parsed_url), cost=traversal)
    for name, part in (
        ("getScheme", lambda u: u.value.scheme),
        ("getHost", _host),
        ("getHostname", lambda u: _host(u).rpartition(":")[0].strip("[]") if _port(u) else _host(u).strip("[]")),
        ("getPort", lambda u: _port(u)),
        ("getEscapedPath", lambda u: quote(unquote(u.value.path), safe="/~!$&'()*+,;=:@-._")),
    ):
        functions.method(name, f"url_{name}", (URL,), STRING, part)
    query = types.map_of(STRING, types.list_of(STRING))
    functions.method(
        "getQuery", "url_getQuery", (URL,), query, lambda u: parse_qs(u.value.query, keep_blank_values=True)
    )


def _holds(parse: Any) -> Any:
    def test(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return test


def _parsed_url(text: str) -> Url:
    """A URL that can stand in a request: absolute, or a path from the root."""
    problem = ""
    if not text:
        problem = "empty url"
    elif any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        problem = "net/url: invalid control character in URL"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        problem = str(error)
    else:
        if not problem and not parts.scheme and not text.startswith("/"):
            problem = "invalid URI for request"
        if not problem:
            return Url(parts)
    raise EvaluationError(f'URL parse error during conversion from string: parse "{text}": {problem}')


def _host(url: Url) -> str:
    return url.value.netloc.rpartition("@")[2]


def _port(url: Url) -> str:
    host = _host(url)
    return host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""


def parsed_ip(text: str) -> Address:
    """An address without zone and not an IPv4 address in IPv6. Raises EvaluationError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped:
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Address(address)


def _parsed_cidr(text: str) -> Network:
    address, slash, length = text.partition("/")
    try:
        if not slash or not length.isdecimal() or (length != "0" and length.startswith("0")):
            raise ValueError
        network = ipaddress.ip_interface(text)
    except ValueError:
        raise EvaluationError(
            f"network address parse error during conversion from string: netip.ParsePrefix({_quoted(text)}): "
            f"{'no ' + _quoted('/') if not slash else 'bad bits after slash: ' + _quoted(length)}"
        ) from None
    if isinstance(network, ipaddress.IPv6Interface) and network.ip.ipv4_mapped:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{address}" is not allowed')
    return Network(network)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _is_link_local_multicast(address: Address) -> bool:
    value = address.value
    if value.version == 4:
        return value in ipaddress.ip_network("224.0.0.0/24")
    return value.is_multicast and value.packed[1] & 0x0F == 2


def _is_global_unicast(address: Address) -> bool:
    value = address.value
    broadcast = str(value) == "255.255.255.255"
    return not (value.is_unspecified or value.is_loopback or value.is_multicast or value.is_link_local or broadcast)


def _contains_ip(network: Network, address: Address) -> bool:
    return network.value.version == address.value.version and address.value in network.value.network


def _contains_cidr(network: Network, other: Network) -> bool:
    mine, theirs = network.value.network, other.value.network
    return mine.version == theirs.version and theirs.subnet_of(mine)  # type: ignore[arg-type]  # same version
