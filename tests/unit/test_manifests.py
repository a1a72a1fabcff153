# SPDX-License-Identifier: Apache-2.0
"""`check`: annotations in manifests, with file and line."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.manifests import DEFAULT_OPTIONS, CheckOptions, check_manifests

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: prod
  annotations:
    gpu-scaler/enabled: "true"
    gpu-scaler/max-replicas: "10"
    gpu-scaler/target-duty-cycle: "40"
    example.com/other: "1"
spec:
  template:
    metadata:
      annotations: {example.com/other: "2"}
"""


def findings_of(files, options=DEFAULT_OPTIONS) -> list[str]:
    return [str(one) for one in check_manifests(files, options).findings]


def check(text: str) -> list[str]:
    return findings_of([("web.yaml", text)])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD, id="good"),
        pytest.param("", id="empty"),
        pytest.param("---\n---\n", id="empty documents"),
        pytest.param("kind: Deployment\nmetadata: {name: other}\n", id="not ours"),
        pytest.param("just text", id="text"),
        pytest.param("kind: Deployment\nmetadata: [1]\nspec: 3", id="other shapes"),
        pytest.param("kind: Deployment\nmetadata: {annotations: null}", id="no annotations"),
        pytest.param(GOOD.replace('"true"', '"false"'), id="opted out"),
        pytest.param(GOOD.replace("    example", "    ? [a]\n    : b\n    example"), id="odd key"),
    ],
)
def test_nothing_to_say(text):
    assert check(text) == []


def test_a_problem_has_the_line_of_its_annotation():
    text = GOOD.replace('"40"', '"95"').replace('"10"', '"ten"')
    first, second = check(text)
    assert first == (
        'web.yaml:8: [Deployment prod/web] gpu-scaler/max-replicas: "ten" is not a whole number;'
        " allowed is a whole number from 1 to 2147483647"
    )
    assert second.startswith(
        'web.yaml:9: [Deployment prod/web] gpu-scaler/target-duty-cycle: "95" can never scale up'
    )


def test_what_is_absent_has_the_line_of_the_opting_in():
    (found,) = check(GOOD.replace("gpu-scaler/max-replicas", "example.com/x"))
    assert found.startswith(
        "web.yaml:7: [Deployment prod/web] gpu-scaler/max-replicas: is required"
    )


def test_a_behavior_has_the_line_of_its_annotation_and_its_own_path():
    text = GOOD.replace(
        '    gpu-scaler/max-replicas: "10"\n',
        dedent("""\
            |    gpu-scaler/behavior: |
            |      scaleUp:
            |        policies: [{type: Pods, value: 4, periodSeconds: 4000}]
            |    gpu-scaler/max-replicas: "10"
            """).replace("|    g", "    g").replace("|      ", "      "),
    )  # fmt: skip
    assert check(text) == [
        "web.yaml:8: [Deployment prod/web] gpu-scaler/behavior:"
        " scaleUp.policies[0].periodSeconds: 4000 is above 1800"
    ]


@pytest.mark.parametrize("value", ["10", "true", "1.5", "~", "{scaleUp: {}}", "[1]"])
def test_values_that_the_api_server_refuses(value):
    found = check(GOOD.replace('"10"', value))
    assert found[0].startswith("web.yaml:8: [Deployment prod/web] gpu-scaler/max-replicas:")
    assert any("must be a string; put the value in quotes" in text for text in found)


def test_annotations_without_opting_in_have_no_effect():
    (found,) = check(GOOD.replace("gpu-scaler/enabled", "example.com/enabled"))
    assert found.startswith("web.yaml:8: [Deployment prod/web] gpu-scaler/enabled: is missing, so")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            GOOD.replace("{example.com/other", "{gpu-scaler/enabled"),
            "web.yaml:14: [Deployment prod/web] gpu-scaler/enabled: has no effect on the pod"
            " template; move it to metadata.annotations of the Deployment",
            id="pod template",
        ),
        pytest.param(
            "kind: Deployment\nmetadata:\n  name: web\n  labels:\n    gpu-scaler/enabled: x\n",
            "web.yaml:5: [Deployment web] gpu-scaler/enabled: has no effect as a label; move it"
            " to metadata.annotations of the Deployment",
            id="label",
        ),
        pytest.param(
            "kind: StatefulSet\nmetadata:\n  annotations:\n    gpu-scaler/enabled: x\n",
            "web.yaml:4: [StatefulSet (no name)] gpu-scaler/enabled: has no effect on a"
            " StatefulSet; move it to metadata.annotations of the Deployment",
            id="another kind",
        ),
    ],
)
def test_annotations_in_the_wrong_place(text, expected):
    assert check(text) == [expected]


def test_several_documents_and_lists():
    bad = GOOD.replace('"40"', '"x"')
    indented = "".join(f"    {line}\n" for line in bad.splitlines())
    listed = f"kind: List\nitems:\n  - {indented.lstrip()}"
    found = check(f"{bad}---\n{listed}")
    assert [text.split(": ")[0] for text in found] == ["web.yaml:9", "web.yaml:26"]


def test_shared_parts_may_be_anchored():
    text = GOOD.replace("annotations:\n", "annotations: &ours\n", 1).replace('"40"', '"x"')
    text += "---\nkind: Deployment\nmetadata: {name: b, annotations: {}}\n"
    assert len(check(text)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            f"{GOOD}---\na: [}}\n", "16: is not valid YAML: expected the node", id="syntax"
        ),
        pytest.param("a:\n\t- b\n", "2: is not valid YAML: found character", id="tab"),
        pytest.param("a: *b\n", "1: is not valid YAML: found undefined alias", id="alias"),
        pytest.param("x: 1\ny: \x00\n", "2: is not valid YAML: special characters", id="NUL"),
        pytest.param("[" * 100_000, "1: is not valid YAML: nested too deeply", id="depth"),
        pytest.param('a: "{{ .x }}\n', "2: is not valid YAML: found unexpected end", id="quote"),
    ],
)
def test_syntax_errors_have_a_line(text, expected):
    (found,) = check(text)
    assert found.startswith(f"web.yaml:{expected}")


def test_a_syntax_error_comes_first_and_what_is_before_it_is_still_checked():
    found = check(GOOD.replace('"40"', '"x"') + "---\na: [}\n")
    assert [text.split(":")[1] for text in found] == ["16", "9"]


def test_a_list_that_holds_itself_ends():
    assert check("&a {kind: List, items: [*a, *a, *a]}") == []


@given(
    st.text(max_size=80)
    | st.text(alphabet="{}[]:,-?&*!|>'\"% \n#@akindmetLs", max_size=80).map(
        "kind: Deployment\n".__add__
    )
)
def test_no_text_raises(text):
    for found in findings_of([("f", text)]):
        file_name, line, _ = found.split(":", 2)
        assert file_name == "f"
        assert 1 <= int(line) <= len(text) + 1


CONTAINERS = """\
    spec:
      containers:
        - name: server
          image: llm:1
          resources:
            limits: {RESOURCES}
"""


@pytest.mark.parametrize(
    ("resources", "is_reported"),
    [
        ('{cpu: "1"}', True),
        ("{}", True),
        ("null", True),
        ("[1]", True),
        ('{nvidia.com/gpu: "0"}', True),
        ('{nvidia.com/gpu: "1"}', False),
        ("{nvidia.com/gpu: 1}", False),
        ("{nvidia.com/mig-3g.40gb: 1}", False),
        ("{nvidia.com/gpu.shared: 1}", False),
        ("{example.com/a100: 1}", False),
    ],
)
def test_pods_that_request_no_gpu_are_told(resources, is_reported):
    found = check(GOOD + CONTAINERS.replace("{RESOURCES}", resources))
    assert len(found) == is_reported
    if is_reported:
        assert found[0].startswith(
            "web.yaml:17: [Deployment prod/web] its pods request no GPU: set one in a container's"
        )


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("    spec: {}\n", id="a patch without containers"),
        pytest.param("    spec: {containers: []}\n", id="no containers"),
        pytest.param(
            "    spec: {containers: [{name: a}], resourceClaims: [{name: b}]}\n", id="a claim"
        ),
        pytest.param(
            "    spec:\n      containers: [{name: a}]\n      initContainers:\n"
            "        - {restartPolicy: Always, resources: {limits: {nvidia.com/gpu: 1}}}\n",
            id="a sidecar",
        ),
        pytest.param("    spec: {containers: {a: b}}\n", id="another shape"),
    ],
)
def test_pods_that_may_have_a_gpu_are_not(more):
    assert check(GOOD + more) == []


@pytest.mark.parametrize(
    ("more", "meant"),
    [
        ('gpu-scaler/pod-metric: a_total\n    gpu-scaler/target-pod-metric: "1"', "rate(a_total)"),
        ("gpu-scaler/queue: 'http://q:80/m b + c_total{d=\"e\"}'", 'rate(c_total{d="e"})'),
        ("gpu-scaler/queue: http://q:80/m b + rate(c_total)", None),
    ],
)
def test_a_counter_without_a_rate_is_a_warning(more, meant):
    text = GOOD.replace(
        'gpu-scaler/target-duty-cycle: "40"', f'gpu-scaler/target-requests: "5"\n    {more}'
    )
    found = check(text)
    assert len(found) == (meant is not None)
    assert all(f'did you mean "{meant}"?' in one for one in found)


def test_a_query_needs_no_gpu():
    text = GOOD.replace(
        'gpu-scaler/target-duty-cycle: "40"',
        'gpu-scaler/query: sum(queue)\n    gpu-scaler/target-query: "5"',
    )
    assert check(text + CONTAINERS.replace("{RESOURCES}", "{}")) == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("gpu-scaler.io/enabled", "gpu-scaler/enabled"),
        ("gpuscaler/max-replicas", "gpu-scaler/max-replicas"),
        ("gpu_scaler/max-replicas", "gpu-scaler/max-replicas"),
        ("GPU-Scaler/target-duty-cycle", "gpu-scaler/target-duty-cycle"),
        ("gpu-scaler.enabled", "gpu-scaler/enabled"),
        ("gpu-scalar/enabled", "gpu-scaler/enabled"),
        ("gpu.scaler/enabled", "gpu-scaler/enabled"),
        ("nvidia.scaler/enabled", "gpu-scaler/enabled"),
        ("gpu-scaler.example.com/whatever", "gpu-scaler/whatever"),
    ],
)
@pytest.mark.parametrize("kind", ["Deployment", "Namespace", "StatefulSet"])
def test_a_name_that_resembles_ours_is_an_error(kind, key, meant):
    (found,) = check(f"kind: {kind}\nmetadata:\n  annotations:\n    {key}: x\n")
    assert found.startswith(f"web.yaml:4: [{kind} (no name)] {key}: ")
    assert found.endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    "key",
    [
        "gpu-exporter/scrape",
        "nvidia.com/gpu.deploy",
        "autoscaling.keda.sh/paused",
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "scaler",
        "gpu",
        "/",
        "",
    ],
)
def test_names_of_others_are_left_alone(key):
    assert check(f"kind: Deployment\nmetadata:\n  annotations:\n    '{key}': x\n") == []


@pytest.mark.parametrize(
    ("annotation", "value", "meant"),
    [
        ("target-duty-cycle", "0.4", '"40"'),
        ("target-memory-used-percent", "0.75", '"75"'),
        ("target-kv-cache-percent", "0.9", '"90"'),
        ("target-memory-used-bytes", "20", '"20Gi"'),
        ("target-power-usage-milliwatts", "250", '"250000"'),
    ],
)
def test_a_value_in_what_seems_another_unit_is_a_warning(annotation, value, meant):
    text = GOOD.replace('target-duty-cycle: "40"', f'{annotation}: "{value}"')
    report = check_manifests([("web.yaml", text)])
    (found,) = report.findings
    assert str(found).startswith(
        f"web.yaml:9: warning: [Deployment prod/web] gpu-scaler/{annotation}"
    )
    assert meant in found.message
    assert report.errors == 0


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("target-duty-cycle", "1"),
        ("target-memory-used-bytes", "1Mi"),
        ("target-power-usage-milliwatts", "10000"),
        ("target-temperature-celsius", "0.5"),
        ("target-requests", "0.4"),
    ],
)
def test_a_small_value_in_the_right_unit_is_not(annotation, value):
    assert check(GOOD.replace('target-duty-cycle: "40"', f'{annotation}: "{value}"')) == []


ROLLOUT = GOOD.replace("apps/v1", "argoproj.io/v1alpha1").replace("Deployment", "Rollout")


def test_another_kind_is_checked_if_the_scaler_scales_it():
    wrong = ROLLOUT.replace('"40"', '"x"')
    ours = CheckOptions(kinds=("rollouts.argoproj.io",))
    assert findings_of([("web.yaml", ROLLOUT)], ours) == []
    (found,) = findings_of([("web.yaml", wrong)], ours)
    assert found.startswith("web.yaml:9: [Rollout prod/web] gpu-scaler/target-duty-cycle")


def test_another_kind_that_the_scaler_does_not_scale_says_which_flag_changes_that():
    found = check(ROLLOUT)
    assert len(found) == 3
    assert all("--kinds rollouts.argoproj.io" in text for text in found)


def test_a_query_needs_a_prometheus():
    text = GOOD.replace('target-duty-cycle: "40"', 'query: "up"').replace(
        "    example", '    gpu-scaler/target-query: "3"\n    example'
    )
    assert findings_of([("web.yaml", text)]) == []
    found = findings_of([("web.yaml", text)], CheckOptions(query_supported=False))
    assert any("gpu-scaler/query" in one and "--prometheus.url" in one for one in found)
