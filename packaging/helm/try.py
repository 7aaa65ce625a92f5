"""Lints the chart and renders it, by Helm's own library; values that its schema should refuse have to be refused.

try.py FILE     where the rendered manifests go
"""
import sys
from pathlib import Path

import helm_python as helm

CHART = Path(__file__).with_name("rekeep")

found = [m for m in helm.lint(CHART)["messages"] if "icon is recommended" not in str(m)]
if found:
    sys.exit(f"lint: {found}")
chart = helm.Chart.load(CHART)
KEY = {"console": {"hash": "blake3:" + "0" * 64, "scopes": ["admin"]}}
manifests = chart.render(values={"environmentSecret": "more", "config": {"service": {"api-keys": KEY}}}, name="try")
texts = [text for name, text in manifests.items() if name.endswith(".yaml") and text.strip()]
if len(texts) < 5:
    sys.exit(f"only {len(texts)} manifests: {list(manifests)}")
Path(sys.argv[1]).write_text("\n---\n".join(texts))
for wrong in [{"state": {"size": 10}}, {"odd": 1}, {"service": {"port": 0}}, {"image": {"pullPolicy": "Sometimes"}}]:
    try:
        chart.validate_schema(chart.merge_values(wrong))
    except helm.HelmValuesError:
        continue
    sys.exit(f"the chart's schema takes {wrong}")
try:
    chart.render(values={}, name="try")
except helm.HelmError as error:
    if "api-keys" not in str(error):
        raise
else:
    sys.exit("a service that would answer nobody is rendered")
