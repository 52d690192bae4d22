#!/bin/sh
# Missing system packages, as root on Debian: OpenSSH, whose client judges our node and whose
# server our client; rsync, which is to reach a node by its run's name; what the test bed makes its
# nodes of; cloud-init, which judges what a node is told.
set -eu
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
PATH="$PATH:/usr/sbin:/sbin"
missing=""
# need FILE-OR-PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need ssh openssh-client
need /usr/sbin/sshd openssh-server
need podman podman
need runc runc
need iptables iptables
need /usr/lib/podman/netavark netavark
need /usr/lib/podman/aardvark-dns aardvark-dns
need newuidmap uidmap
need mkfs.ext4 e2fsprogs
need ip iproute2
need rsync rsync
need cloud-init cloud-init
[ -z "$missing" ] && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
