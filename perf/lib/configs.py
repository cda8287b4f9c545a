"""Configurations of the proxies that are compared: each as its makers advise for many kept-alive
connections, one worker, no access log unless it is asked for."""

import hashlib
import json
import subprocess

from . import processes

NEVER = 1_000_000  # failures that a breaker is to bear where what is measured is failing over


def nginx(home, address, upstream, failing=None, access=False, tls=None, others=()):
    """`failing`: an upstream that is tried first; `others`: upstreams that take turns with it."""
    log = f"access_log {home}/access.log combined buffer=64k flush=1s;" if access else "access_log off;"
    temporary = "\n".join(
        f"  {kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    secure = "" if tls is None else f"""
    ssl_certificate {tls[0]};
    ssl_certificate_key {tls[1]};
    ssl_session_cache shared:tls:16m;
    ssl_protocols TLSv1.3;"""
    servers = " ".join(f"server {one};" for one in (upstream, *others))
    if failing is not None:
        servers = f"server {failing} max_fails=0; server {upstream} backup;"
    repeats = "" if failing is None else "proxy_next_upstream error timeout http_500 non_idempotent;"
    return f"""
daemon off;
worker_processes 1;
worker_cpu_affinity {1 << processes.PROXY_CPU:b};
pid {home}/nginx.pid;
error_log {home}/error.log crit;
events {{ worker_connections 8192; }}
http {{
{temporary}
  {log}
  upstream canned {{
    {servers}
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address}{' ssl' if tls else ''} backlog=4096 reuseport;{secure}
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 512k;
    location / {{
      proxy_pass http://canned;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      {repeats}
    }}
  }}
}}
"""


def haproxy(address, upstream, failing=None, pem=None):
    # By weight nearly every call meets the failing server first; what is repeated goes elsewhere.
    servers = [f"server canned {upstream}"] if failing is None else [
        f"server failing {failing} weight 256", f"server canned {upstream} weight 1",
        "option redispatch 1", "retries 2", "retry-on conn-failure empty-response 500",
    ]
    lines = "\n".join(f"  {line}" for line in servers)
    return f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  option abortonclose
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend calls
  bind {address} backlog 4096{f' ssl crt {pem} ssl-min-ver TLSv1.3' if pem else ''}
  default_backend canned
backend canned
{lines}
"""


def _endpoint(address):
    host, port = address.split(":")
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}


def envoy(address, upstream, failing=None, tls=None):
    """As JSON, which Envoy reads too."""
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route = {"cluster": "canned", "timeout": "0s"}
    groups = [{"priority": 0, "lb_endpoints": [_endpoint(failing or upstream)]}]
    if failing is not None:
        groups.append({"priority": 1, "lb_endpoints": [_endpoint(upstream)]})
        kind = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        route["retry_policy"] = {
            "retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"},
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {"@type": kind, "update_frequency": 1},
            },
        }
    chain = {"filters": [{
        "name": "http",
        "typed_config": {
            "@type": manager, "stat_prefix": "calls", "codec_type": "HTTP1", "stream_idle_timeout": "0s",
            "generate_request_id": False,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}],
            }]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }}],
        },
    }]}
    if tls is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{
                    "certificate_chain": {"filename": str(tls[0])}, "private_key": {"filename": str(tls[1])},
                }],
            },
        }}
    most = {"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000, "max_retries": 20000}
    thresholds = [{"priority": "DEFAULT", **most}]
    return json.dumps({"static_resources": {
        "listeners": [{
            "name": "calls", "address": _endpoint(address)["endpoint"]["address"],
            "tcp_backlog_size": 4096, "filter_chains": [chain],
        }],
        "clusters": [{
            "name": "canned", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": thresholds},
            "load_assignment": {"cluster_name": "canned", "endpoints": groups},
        }],
    }})


def litellm(upstream, failing=None):
    def model(name, address):
        return {"model_name": name, "litellm_params": {
            "model": "openai/canned-1", "api_base": f"http://{address}/v1", "api_key": "none",
        }}

    return json.dumps({
        "model_list": [model("smart", failing or upstream), model("spare", upstream)],
        "litellm_settings": {"telemetry": False, "request_timeout": 600, "num_retries": 0},
        "router_settings": {
            "num_retries": 0, "disable_cooldowns": True,
            "fallbacks": [{"smart": ["spare"]}] if failing else [],
        },
        "general_settings": {"master_key": "sk-bench"},
    })


def srpd(home, binary, address, admin, key, upstream=processes.UPSTREAM, failing=None, access=False, tls=None,
         others=(), balance="least_loaded", ledger=False, audit=False, otlp=None, slots=None):
    """One core, one key, one capability; the backstop has to be there, and is never needed. `others`: further
    endpoints, chosen among by `balance`. `otlp`: the share of calls that are spans, for a collector that isn't
    there. `slots`: "floating" or "firm", at a provider that has them."""
    seed, accreditation = home / "authority.key", home / "backstop.json"
    backstop = f"http://{upstream}"
    public_key = subprocess.run(
        [binary, "accredit", "keygen", "--out", seed], check=True, capture_output=True, text=True
    ).stdout.strip().splitlines()[-1]
    subprocess.run(
        [binary, "accredit", "sign", "--key", seed, "--provider", "backstop", "--jurisdiction", "au",
         "--endpoint", backstop, "--days", "365", "--out", accreditation],
        check=True, capture_output=True,
    )
    secure = "" if tls is None else f"""
[instance.tls]
certificate = "{tls[0]}"
private_key = "{tls[1]}"
"""
    recorded = f"""
[ledger]
directory = "{home / "ledger"}"
""" if ledger else ""
    if audit:
        signer = home / "audit.pem"
        subprocess.run([binary, "audit", "keygen", "--out", signer], check=True, capture_output=True)
        recorded += f"""
[audit]
key = {{ file = "{signer}" }}
"""
    if otlp is not None:
        recorded += f"""
[otlp]
endpoint = "http://{processes.free_address()}"
sample = {otlp}
traces_per_second = 10000
"""
    reserved = """
[[reservation]]
key = "bench"
provider = "canned"
slots = 500
from = "2020-01-01T00:00:00Z"
until = "2100-01-01T00:00:00Z"
""" if slots == "firm" else ""
    first = "" if failing is None else f"""
[[provider]]
name = "failing"
jurisdiction = "au"
endpoints = ["http://{failing}"]
models = {{ smart = "canned-1" }}
breaker = {{ consecutive_failures = {NEVER}, ratio_min_calls = {NEVER} }}
"""
    return f"""
[instance]
jurisdiction = "au"
listen = ["{address}"]
admin = "{admin}"
cores = [{processes.PROXY_CPU}]
{secure}
[log]
format = "json"
level = "warn"
access = {str(access).lower()}
{recorded}
[[authority]]
name = "bench"
public_key = "{public_key}"

[[provider]]
name = "backstop"
jurisdiction = "au"
accreditation = "{accreditation.name}"
endpoints = ["{backstop}"]
models = {{ "*" = "canned-1" }}
{first}
[[provider]]
name = "canned"
jurisdiction = "au"
endpoints = {json.dumps([f"http://{one}" for one in (upstream, *others)])}
balance = "{balance}"
models = {{ smart = "canned-1" }}
{"" if slots is None else "capacity = 1000"}

[[capability]]
name = "smart"
chain = [{'' if failing is None else '"failing", '}"canned"]

[[key]]
name = "bench"
sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"
capabilities = ["smart"]
supply = "{slots or "floating"}"
{reserved}"""
