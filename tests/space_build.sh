#!/usr/bin/env bash
# Imitates what the Hub does with a Space: another user, a fresh environment, the packages of
# requirements.txt, `python app.py`. Then a take is made through the API, and nothing may have been
# written outside the user's home. Takes some minutes and, with the CUDA build of torch, 8 GB.
#
#   tests/space_build.sh [PYTHON]        as root: in the name of the user id 20001; else as oneself
#   TORCH_INDEX=URL                      where to find torch first, e.g. PyTorch's CPU index
set -euo pipefail

python=${1:-python3}
uid=20001
source=$(cd "$(dirname "$0")/.." && pwd)
port=$((20000 + RANDOM % 20000))
base=$(mktemp -d)
home=$base/home
app=$home/app
server=

leave() {
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    rm -rf "$base"
}
trap leave EXIT

mkdir -p "$app"
git -C "$source" archive HEAD | tar -x -C "$app" --exclude=tests
cp "$source/tests/space_client.py" "$home/"

as_user=(env -i HOME="$home" PATH="$PATH" LANG=C.UTF-8)
for name in PIP_INDEX_URL PIP_FIND_LINKS PIP_CERT PIP_CONFIG_FILE SSL_CERT_FILE HTTPS_PROXY; do
    [ -n "${!name:-}" ] && as_user+=("$name=${!name}")
done
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$base"
    chown -R "$uid:$uid" "$home"
    as_user=(setpriv --reuid="$uid" --regid="$uid" --clear-groups "${as_user[@]}")
else
    uid=$(id -u)
fi

cd "$app"
echo "== pip install -r requirements.txt, as user $uid"
"${as_user[@]}" "$python" -m venv "$home/venv"
pip=("${as_user[@]}" "$home/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-cache-dir)
if [ -n "${TORCH_INDEX:-}" ]; then
    "${pip[@]}" --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"
fi
"${pip[@]}" -r requirements.txt
"${as_user[@]}" "$home/venv/bin/python" -m pip check

echo "== python app.py"
touch "$base/before"
mkdir -p "$home/tmp" && chown "$uid" "$home/tmp"
"${as_user[@]}" TMPDIR="$home/tmp" SYSTEM=spaces GRADIO_SERVER_NAME=127.0.0.1 \
    GRADIO_SERVER_PORT="$port" "$home/venv/bin/python" app.py >"$base/log" 2>&1 &
server=$!
"${as_user[@]}" TMPDIR="$home/tmp" "$home/venv/bin/python" "$home/space_client.py" \
    "http://127.0.0.1:$port" "$app/examples/ode-to-joy.flac" || { cat "$base/log"; exit 1; }
kill "$server"
wait "$server" 2>/dev/null || true
server=

echo "== nothing written outside home, nothing left of the visit"
strays=$(find / -xdev -uid "$uid" -newer "$base/before" -type f \
    -not -path "$home/*" -not -path "/proc/*" -not -path "/sys/*" 2>/dev/null || true)
if [ "$uid" = 20001 ] && [ -n "$strays" ]; then
    printf 'written outside home:\n%s\n' "$strays"
    exit 1
fi
left=$(find "$home/tmp" -type f \( -name '*.wav' -o -name '*.flac' \) | head)
if [ -n "$left" ]; then
    printf 'left of the visit:\n%s\n' "$left"
    exit 1
fi
echo "The Space builds and plays."
