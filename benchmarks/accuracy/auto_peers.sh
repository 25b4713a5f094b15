#!/bin/sh
# Make the environment of the peers that auto is compared with: AutoGluon-TimeSeries, statsforecast, mlforecast.
# Usage: benchmarks/accuracy/auto_peers.sh [FOLDER]; then benchmarks/accuracy/auto.py --peers FOLDER/bin/python
# torch comes first, by the version that demandcast is tested with, so that no other build of it is fetched.
set -eu
folder=${1:-peers}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet "torch==2.13.0"
"$folder/bin/pip" install --quiet "autogluon.timeseries==1.6.3" "mlforecast==0.14.0" "statsforecast==2.0.3"
"$folder/bin/python" -c "import autogluon.timeseries, mlforecast, statsforecast; print('ready')"
