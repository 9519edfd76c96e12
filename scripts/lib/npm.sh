# shellcheck shell=bash
# The JavaScript tools of the tests, from the lock file, which records no download addresses. Sourced by scripts/test.

# npm_install LOG FOLDER: makes FOLDER/node_modules what FOLDER/package-lock.json says. Needs packages.sh.
npm_install() {
	local log=$1 folder=$2 stamp wanted
	stamp=$folder/node_modules/.installed
	wanted=$(sha256sum "$folder/package.json" "$folder/package-lock.json" | sha256sum)
	if [ -e "$stamp" ] && [ "$(<"$stamp")" = "$wanted" ]; then
		return 0
	fi
	if ! command -v npm >/dev/null; then
		packages_add "${log%.log}-packages.log" npm
	fi
	echo "installing the JavaScript tools of ${folder##*/}"
	mkdir -p "${log%/*}"
	if ! (cd "$folder" && timeout -k 20 900 npm ci --no-fund --no-audit) >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		echo "npm ci in $folder failed; the whole output is in $log" >&2
		return 1
	fi
	printf '%s\n' "$wanted" >"$stamp"
}
