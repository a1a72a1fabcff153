# SPDX-License-Identifier: Apache-2.0
"""The flags of the sources: what they make, and every wrong value with what is allowed."""

from __future__ import annotations

import pytest

from scaler.readings.prometheus.names import PRESETS
from scaler.readings.settings import ExportersSettings, PrometheusSettings
from tests.unit.test_scaler_config import parse
from toolkit.cli.arguments import UsageError
from toolkit.http_access import HttpAccess

PROMETHEUS = ("--source=prometheus", "--prometheus.url=http://prometheus:9090")


def settings(*flags: str, **environ: str) -> PrometheusSettings:
    found = parse(*PROMETHEUS, *flags, **environ).prometheus
    assert found is not None
    return found


OURS = 'namespace="gpu-exporter"'


def test_an_address_is_all_that_prometheus_needs():
    assert settings() == PrometheusSettings(url="http://prometheus:9090", matchers=(OURS,))


@pytest.mark.parametrize("metrics", sorted(PRESETS))
def test_for_queries_beside_the_exporters_an_address_is_enough(metrics):
    found = parse("--prometheus.url=http://prometheus:9090", f"--prometheus.metrics={metrics}")
    assert found.source == "exporters"
    assert found.prometheus is not None
    assert found.prometheus.url == "http://prometheus:9090"


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_preset_takes_series_of_whoever_is_scraped(preset):
    flags = (f"--prometheus.metrics={preset}", "--exporters.namespace=gpus")
    own = '--prometheus.exporters-matcher=job="x"'
    assert settings(*flags, own, '--prometheus.matcher=a="b"').matchers == ('job="x"', 'a="b"')
    if preset == "gpu-exporter":
        assert settings(*flags).matchers == ('namespace="gpus"',)
    else:
        with pytest.raises(UsageError, match=r"--prometheus\.exporters-matcher: required"):
            settings(*flags)


def test_a_slash_at_the_end_and_a_path_before_the_api():
    assert settings("--prometheus.url=https://mimir/prometheus/").url == "https://mimir/prometheus"


def test_everything_that_can_be_told_of_prometheus():
    found = settings(
        "--prometheus.metrics=dcgm-exported",
        '--prometheus.exporters-matcher=job="dcgm"',
        "--prometheus.namespace-label=kube_namespace",
        "--prometheus.pod-label=kube_pod",
        "--prometheus.device-labels=UUID,slice",
        '--prometheus.matcher=cluster="eu-1"',
        '--prometheus.matcher=tier=~"a|b"',
        "--prometheus.param=storeMatch[]={a=1}",
        "--prometheus.param=storeMatch[]={b=2}",
        "--prometheus.param=dedup=",
        "--prometheus.header=X-Scope-OrgID: team-a|team-b",
        "--prometheus.header-file=X-Key: /run/key",
        "--prometheus.timeout=1500ms",
        "--prometheus.max-answer-size=1Mi",
        "--prometheus.max-series=10k",
        "--prometheus.tls-ca-file=/ca",
        "--prometheus.tls-server-name=prometheus.example",
        "--prometheus.tls-cert-file=/crt",
        "--prometheus.tls-key-file=/key",
        "--prometheus.bearer-token-file=/token",
    )
    names = found.names
    assert names.families is PRESETS["dcgm-exported"].families
    assert (names.namespace_label, names.pod_label) == ("kube_namespace", "kube_pod")
    assert names.device_labels == ("UUID", "slice")
    assert found.matchers == ('job="dcgm"', 'cluster="eu-1"', 'tier=~"a|b"')
    assert found.params == (("storeMatch[]", "{a=1}"), ("storeMatch[]", "{b=2}"), ("dedup", ""))
    assert (found.timeout_seconds, found.max_answer_bytes, found.max_series) == (1.5, 2**20, 10_000)
    assert found.access == HttpAccess(
        ca_file="/ca",
        server_name="prometheus.example",
        cert_file="/crt",
        key_file="/key",
        bearer_token_file="/token",
        headers=(("X-Scope-OrgID", "team-a|team-b"),),
        header_files=(("X-Key", "/run/key"),),
    )


def test_exporters_behind_tls_and_a_password():
    found = parse(
        "--exporters.scheme=https",
        "--exporters.tls-ca-file=/ca",
        "--exporters.username=scaler",
        "--exporters.password-file=/password",
    ).exporters
    assert found == ExportersSettings(
        scheme="https",
        access=HttpAccess(ca_file="/ca", username="scaler", password_file="/password"),
    )


def test_variables_hold_several_values_by_line_and_flags_replace_them():
    variable = {"GPU_SCALER_PROMETHEUS_HEADER": "A: 1\n\nB: 2\n"}
    assert settings(**variable).access.headers == (("A", "1"), ("B", "2"))
    assert settings("--prometheus.header=C: 3", **variable).access.headers == (("C", "3"),)
    environ = {
        "GPU_SCALER_SOURCE": "prometheus",
        "GPU_SCALER_PROMETHEUS_URL": "http://here",
        "GPU_SCALER_PROMETHEUS_TLS_INSECURE_SKIP_VERIFY": "true",
    }
    found = parse(**environ).prometheus
    assert found == PrometheusSettings(
        url="http://here", matchers=(OURS,), access=HttpAccess(insecure_skip_verify=True)
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--source=prometheus"], "--prometheus.url: required", id="no URL"),
        *(
            pytest.param([*PROMETHEUS, flag], message, id=flag.split(":")[0])
            for flag, message in (
                ("--prometheus.url=prometheus:9090", "is not http://HOST[:PORT][/PATH]"),
                ("--prometheus.url=http://a:99999", "is not http://HOST[:PORT][/PATH]"),
                ("--prometheus.url=http://a/api/v1/query", "must end before /api/v1"),
                ("--prometheus.url=http://a?tenant=1", "use --prometheus.param"),
                ("--prometheus.metrics=node-exporter", "is not one of gpu-exporter, dcgm,"),
                ("--prometheus.pod-label=pod-name", "'pod-name' is not a label name"),
                ("--prometheus.device-labels=UUID,", "'' is not a label name"),
                ('--prometheus.matcher=a="1", b="2"', "is not a matcher such as"),
                ('--prometheus.matcher=a="x"} or vector(1) #"', "is not a matcher such as"),
                ("--prometheus.exporters-matcher=job", "is not a matcher such as"),
                ("--prometheus.param=query=up", "'query' is not NAME=VALUE"),
                ("--prometheus.param=dedup", "'dedup' is not NAME=VALUE"),
                ("--prometheus.timeout=31s", "'31s' is not a duration above 0s and up to 30s"),
                ("--prometheus.timeout=5", "'5' is not a duration"),
                ("--prometheus.max-series=0", "'0' is not a number above 0 and up to 10000000"),
                ("--prometheus.max-answer-size=2Gi", "up to 1073741824"),
                ("--prometheus.username=me", "and --prometheus.password-file must be set together"),
                (
                    "--prometheus.tls-cert-file=/crt",
                    "and --prometheus.tls-key-file must be set together",
                ),
            )
        ),
        pytest.param(
            [
                *PROMETHEUS,
                "--prometheus.username=me",
                "--prometheus.password-file=/p",
                "--prometheus.bearer-token-file=/t",
            ],
            "--prometheus.password-file and --prometheus.bearer-token-file are mutually exclusive",
            id="two credentials",
        ),
        pytest.param(
            ["--exporters.scheme=ftp"], "'ftp' is not one of http, https", id="scheme of exporters"
        ),
    ],
)
def test_wrong_values(flags, message):
    with pytest.raises(UsageError) as error:
        parse(*flags)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param("url=http://me:hunter2@a", "must not contain a user name", id="URL"),
        pytest.param("header=Authorization: hunter2", "Authorization holds a secret", id="header"),
        pytest.param("header=hunter2", "a value is not", id="no header"),
        pytest.param("header=X-Key: a\nhunter2: b", "a value is not", id="two headers"),
    ],
)
def test_no_secret_is_repeated(flag, message):
    with pytest.raises(UsageError) as error:
        parse(*PROMETHEUS, f"--prometheus.{flag}")
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)
