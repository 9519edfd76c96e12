# shellcheck shell=bash
# Installs the Debian packages named in scripts/packages/*.txt that are missing, and nothing else: no service of the
# machine is started, enabled or touched, no database cluster is made. Sourced by scripts/demo and scripts/test.

packages_root=${BASH_SOURCE[0]%/*}/../packages
packages_policy=/usr/sbin/policy-rc.d
packages_policy_aside=/usr/sbin/policy-rc.d.before-rushes
packages_no_cluster=/etc/postgresql-common/createcluster.d/rushes-no-cluster.conf

packages_as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# The names of a list, one a line.
packages_list() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$packages_root/$1.txt"
}

# Which of the given packages are not installed.
packages_missing() {
	local name status
	for name in "$@"; do
		status=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) || status=
		[ "$status" = installed ] || echo "$name"
	done
}

packages_known() {
	local name
	for name in "$@"; do
		[ -n "$(apt-cache show --no-all-versions "$name" 2>/dev/null)" ] || return 1
	done
}

# Maintainer scripts ask policy-rc.d before they start a service, and createcluster.conf before they make a database.
# Both answers are no while we install; afterwards everything is as it was found.
packages_forbid_services() {
	if [ -e "$packages_policy" ] && ! grep -qs rushes-packages "$packages_policy"; then
		packages_as_root mv "$packages_policy" "$packages_policy_aside"
	fi
	printf '#!/bin/sh\n# rushes-packages: no service starts while packages are installed\nexit 101\n' |
		packages_as_root tee "$packages_policy" >/dev/null
	packages_as_root chmod 755 "$packages_policy"
	packages_as_root mkdir -p "${packages_no_cluster%/*}"
	echo "create_main_cluster = off" | packages_as_root tee "$packages_no_cluster" >/dev/null
}

packages_allow_services() {
	packages_as_root rm -f "$packages_no_cluster"
	packages_as_root rmdir --ignore-fail-on-non-empty "${packages_no_cluster%/*}" 2>/dev/null || true
	grep -qs rushes-packages "$packages_policy" && packages_as_root rm -f "$packages_policy"
	[ ! -e "$packages_policy_aside" ] || packages_as_root mv "$packages_policy_aside" "$packages_policy"
}

# Debian enables the unit of a server that it installs; the next boot would start it. What we just installed stays off.
packages_disable_units() {
	local name unit
	for name in "$@"; do
		for unit in $(dpkg -L "$name" | sed -n 's|^.*/systemd/system/\([^@/]*\.service\)$|\1|p'); do
			packages_as_root env DPKG_MAINTSCRIPT_PACKAGE="$name" deb-systemd-helper disable "$unit" || true
		done
		for unit in $(dpkg -L "$name" | sed -n 's|^/etc/init.d/\([^/]*\)$|\1|p'); do
			packages_as_root update-rc.d "$unit" disable || true
		done
	done
}

packages_apt() {
	packages_as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 timeout -k 60 1800 apt-get -q -y \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# packages_install LOG LIST...: makes sure that every package of the lists is installed. Says one line when there is
# something to do. What apt prints goes to LOG; on failure its end is shown.
packages_install() {
	local log=$1 list
	local -a names=() missing=()
	shift
	for list in "$@"; do
		mapfile -t -O "${#names[@]}" names < <(packages_list "$list")
	done
	mapfile -t missing < <(packages_missing "${names[@]}")
	# a run that was killed while it installed may have left its answers behind
	if [ -e "$packages_no_cluster" ] || [ -e "$packages_policy_aside" ] || grep -qs rushes-packages "$packages_policy"; then
		packages_allow_services
	fi
	[ ${#missing[@]} -gt 0 ] || return 0
	packages_add "$log" "${missing[@]}"
}

# packages_add LOG PACKAGE...: installs packages that are known to be missing.
packages_add() {
	local log=$1
	shift
	echo "installing ${#} Debian packages: $*"
	mkdir -p "${log%/*}"
	if ! (
		trap packages_allow_services EXIT
		trap 'exit 130' INT TERM
		packages_forbid_services || exit
		if ! { packages_known "$@" && packages_apt install --no-install-recommends "$@"; }; then
			packages_apt update && packages_apt install --no-install-recommends "$@" || exit
		fi
		packages_disable_units "$@"
	) >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		echo "installing Debian packages failed; the whole output is in $log" >&2
		return 1
	fi
}
