"""What becomes of each word of keepalived.conf(5): kept, kept with a difference, or left out, and why.

A word that stands in no table is told as not understood, never passed over in silence.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    KEPT = "kept"
    DIFFERS = "differs"
    LEFT_OUT = "left-out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate
    reason: str
    korean: str

    def said(self, language: str) -> str:
        return self.korean if language == "ko" else self.reason


def kept(reason: str, korean: str) -> Verdict:
    """As it was."""
    return Verdict(Fate.KEPT, reason, korean)


def differs(reason: str, korean: str) -> Verdict:
    """There, and otherwise."""
    return Verdict(Fate.DIFFERS, reason, korean)


def left_out(reason: str, korean: str) -> Verdict:
    """Not there: the reason says what to write instead."""
    return Verdict(Fate.LEFT_OUT, reason, korean)


UNKNOWN = Verdict(Fate.UNKNOWN, "not understood: look at it yourself", "이해하지 못했습니다: 직접 확인하십시오")

_SCRIPTS = left_out(
    "no script stands in the way of a fail-over: servers are judged by `services.*.check`, events are in the journal",
    "절체 경로에 스크립트를 두지 않습니다: 서버는 `services.*.check`로 판정하고 사건은 저널에 남습니다",
)
_NOTIFY = left_out(
    "no hooks yet: `understudy status --json` and the journal tell every change of role",
    "아직 훅이 없습니다: 역할 변경은 `understudy status --json`과 저널에 있습니다",
)
_MAIL = left_out("no mail is sent: watch the journal", "메일을 보내지 않습니다: 저널을 보십시오")
_BUILT_IN = kept(
    "built in: announcements are repeated and sent again after a hand-over", "기본 동작: 알림을 반복해서 보냅니다"
)
_SYSTEM = left_out("concerns keepalived's own process", "keepalived 프로세스 자체의 설정입니다")
_IPVS_SYNC = left_out("balancing is in nftables and needs no IPVS", "부하분산은 nftables로 하며 IPVS가 필요 없습니다")
_ROUTES = left_out(
    "routes and rules that move with the role are not there yet: set them on both nodes",
    "역할과 함께 움직이는 경로와 규칙은 아직 없습니다: 두 노드에 직접 설정하십시오",
)
_TRACKED = kept("every LAN of a group is watched, with its carrier and its reach", "그룹의 모든 LAN을 감시합니다")

GLOBAL: dict[str, Verdict] = {
    "router_id": kept("the node's name", "노드 이름"),
    "vrrp_version": kept("the version of VRRP", "VRRP 버전"),
    **dict.fromkeys(("notification_email", "notification_email_from", "smtp_server", "smtp_connect_timeout",
                     "smtp_helo_name", "smtp_alert", "smtp_alert_vrrp", "smtp_alert_checker", "email_faults"), _MAIL),
    **dict.fromkeys(("enable_script_security", "script_user", "max_auto_priority", "process_names", "use_pid_dir",
                     "vrrp_priority", "vrrp_rt_priority", "vrrp_rlimit_rttime", "vrrp_no_swap", "checker_priority",
                     "checker_rt_priority", "checker_no_swap", "bfd_priority", "instance", "net_namespace", "nftables",
                     "nftables_counters", "vrrp_iptables", "enable_snmp_vrrp", "enable_snmp_checker",
                     "enable_snmp_rfc", "snmp_socket", "enable_traps", "enable_dbus", "dynamic_interfaces",
                     "default_interface", "reload_time_file", "startup_script", "shutdown_script",
                     "min_auto_priority_delay",
                     "log_unknown_vrids", "vrrp_ipsets", "vrrp_startup_delay", "fifo_write_vrrp_states_on_reload",
                     "keep_script_symlinks", "umask", "config_save_dir", "json_version",
                     "tmp_config_directory"), _SYSTEM),
    **dict.fromkeys(("notify_fifo", "notify_fifo_script", "vrrp_notify_fifo", "vrrp_notify_fifo_script",
                     "lvs_notify_fifo", "lvs_notify_fifo_script", "notify_priority_changes"), _NOTIFY),
    **dict.fromkeys(("vrrp_garp_master_delay", "vrrp_garp_master_repeat", "vrrp_garp_master_refresh",
                     "vrrp_garp_master_refresh_repeat", "vrrp_garp_interval", "vrrp_gna_interval", "vrrp_min_garp",
                     "vrrp_garp_lower_prio_repeat", "vrrp_garp_lower_prio_delay", "vrrp_garp_extra_if"), _BUILT_IN),
    **dict.fromkeys(("lvs_sync_daemon", "lvs_flush", "lvs_flush_onstop", "lvs_flush_on_stop", "lvs_timeouts"),
                    _IPVS_SYNC),
    **dict.fromkeys(("vrrp_strict", "vrrp_check_unicast_src", "vrrp_skip_check_adv_addr"), kept(
        "packets are always checked as RFC 9568 says", "패킷은 항상 RFC 9568대로 검사합니다")),
    **dict.fromkeys(("vrrp_mcast_group4", "vrrp_mcast_group6"), differs(
        "advertisements go to the group that RFC 9568 names", "광고는 RFC 9568의 그룹 주소로 보냅니다")),
}  # fmt: skip

INSTANCE: dict[str, Verdict] = {
    "state": kept("the order of the nodes", "노드의 순서"),
    "interface": kept("a network", "네트워크"),
    "virtual_router_id": kept("the group's VRID", "그룹의 VRID"),
    "priority": kept(
        "the order of the nodes: 250 for the first, 240 for the second", "노드의 순서: 첫째 250, 둘째 240"),
    "advert_int": kept("`advertise`", "`advertise`"),
    "version": kept("the version of VRRP", "VRRP 버전"),
    "native_ipv6": kept("the family follows from the addresses", "주소에서 알 수 있습니다"),
    "virtual_ipaddress": kept("the group's addresses", "그룹의 주소"),
    "virtual_ipaddress_excluded": differs(
        "the group's addresses, advertised like the others", "그룹의 주소이며 다른 주소처럼 광고됩니다"),
    "nopreempt": kept("`preempt: false`", "`preempt: false`"),
    "preempt": kept("`preempt: true`", "`preempt: true`"),
    "preempt_delay": differs(
        "a node that returns asks for the group once it is ready, and it is handed over without loss",
        "돌아온 노드는 준비가 되면 그룹을 요청하고, 손실 없이 넘겨받습니다"),
    "unicast_src_ip": kept("the node's own address", "노드 자신의 주소"),
    "unicast_peer": kept("the other node's address, and `unicast`", "상대 노드의 주소와 `unicast`"),
    "mcast_src_ip": kept("the node's own address", "노드 자신의 주소"),
    "use_vmac": kept("the default", "기본값"),
    "vmac_xmit_base": kept("advertisements leave by the port", "광고는 포트에서 나갑니다"),
    "track_interface": _TRACKED,
    "dont_track_primary": differs("every LAN of a group is watched", "그룹의 모든 LAN을 감시합니다"),
    "track_script": _SCRIPTS, "track_file": _SCRIPTS, "track_process": _SCRIPTS, "track_bfd": _SCRIPTS,
    "authentication": left_out(
        "VRRP version 3 has none; the channel between the nodes is authenticated and encrypted",
        "VRRP 버전 3에는 인증이 없습니다; 노드 사이의 채널은 인증되고 암호화됩니다"),
    "accept": kept("the default", "기본값"),
    "no_accept": differs("packets to the addresses are taken", "가상 주소로 온 패킷을 받습니다"),
    "virtual_routes": _ROUTES, "virtual_rules": _ROUTES,
    "lvs_sync_daemon_interface": _IPVS_SYNC, "lvs_sync_daemon_inteface": _IPVS_SYNC,
    "debug": _SYSTEM, "linkbeat_use_polling": _TRACKED, "promote_secondaries": _SYSTEM,
    "smtp_alert": _MAIL, "no_virtual_ipaddress": _SYSTEM, "kernel_rx_buf_size": _SYSTEM,
    "strict_mode": kept("packets are always checked as RFC 9568 says", "패킷은 항상 RFC 9568대로 검사합니다"),
    "skip_check_adv_addr": kept(
        "other addresses are an alarm, never a reason to drop", "주소 목록이 달라도 버리지 않고 알립니다"),
    "check_unicast_src": kept("always", "항상 그렇게 합니다"),
    "old_unicast_checksum": _SYSTEM, "higher_prio_send_advert": _SYSTEM, "down_timer_adverts": differs(
        "three intervals, as RFC 9568 says", "RFC 9568대로 간격의 세 배입니다"),
    **dict.fromkeys(("garp_master_delay", "garp_master_repeat", "garp_master_refresh", "garp_master_refresh_repeat",
                     "garp_lower_prio_delay", "garp_lower_prio_repeat", "lower_prio_no_advert"), _BUILT_IN),
    **dict.fromkeys(("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted",
                     "notify_master_rx_lower_pri", "notify_priority_changes"), _NOTIFY),
}  # fmt: skip

SYNC_GROUP: dict[str, Verdict] = {
    "group": kept("addresses that move together", "함께 움직이는 주소들"),
    "track_interface": _TRACKED, "global_tracking": _TRACKED, "sync_group_tracking_weight": _SYSTEM,
    "track_script": _SCRIPTS, "track_file": _SCRIPTS, "track_process": _SCRIPTS, "track_bfd": _SCRIPTS,
    "smtp_alert": _MAIL,
    **dict.fromkeys(("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"), _NOTIFY),
}  # fmt: skip

_BALANCING = differs(
    "a server is chosen by a hash of the client's address and port, the same on both nodes",
    "클라이언트의 주소와 포트 해시로 서버를 고르며 두 노드가 같습니다",
)
_PERSISTENT = left_out(
    "no persistence yet: each connection is balanced by itself",
    "아직 세션 고정이 없습니다: 연결마다 따로 부하분산합니다",
)
_WEIGHT = left_out("weights are not there yet", "아직 가중치가 없습니다")
_TUNING = left_out("no counterpart", "해당 기능이 없습니다")

VIRTUAL_SERVER: dict[str, Verdict] = {
    "delay_loop": kept("`check.every`", "`check.every`"),
    "protocol": kept("TCP", "TCP"),
    "lb_algo": _BALANCING, "lvs_sched": _BALANCING,
    "persistence_timeout": _PERSISTENT, "persistence_granularity": _PERSISTENT, "persistence_engine": _TUNING,
    "real_server": kept("a server", "서버"),
    "weight": _WEIGHT,
    **dict.fromkeys(("sorry_server", "sorry_server_inhibit", "quorum", "quorum_up", "quorum_down", "hysteresis",
                     "alpha",
                     "omega", "ops", "ha_suspend", "virtualhost", "inhibit_on_failure", "retry", "warmup",
                     "delay_before_retry", "hashed", "flag-1", "flag-2", "flag-3", "ip_family", "smtp_alert"), _TUNING),
}  # fmt: skip

LB_KIND = {
    "NAT": kept("the default", "기본값"),
    "DR": differs(
        "translated (NAT): answers must come back through the pair, so its address is the servers' gateway",
        "NAT로 변환됩니다: 응답이 이 쌍을 지나야 하므로 서버의 게이트웨이는 그룹 주소입니다"),
    "TUN": differs(
        "translated (NAT): answers must come back through the pair", "NAT로 변환됩니다: 응답이 이 쌍을 지나야 합니다"),
}  # fmt: skip

REAL_SERVER: dict[str, Verdict] = {
    "TCP_CHECK": kept("`check: tcp`", "`check: tcp`"),
    "HTTP_GET": kept("`check: {http: ...}`", "`check: {http: ...}`"),
    "SSL_GET": differs("connect only: no TLS check yet", "연결만 검사합니다: 아직 TLS 검사가 없습니다"),
    "weight": _WEIGHT,
    **dict.fromkeys(("MISC_CHECK", "SMTP_CHECK", "DNS_CHECK", "BFD_CHECK", "UDP_CHECK", "PING_CHECK", "FILE_CHECK"),
                    differs("connect only", "연결만 검사합니다")),
    **dict.fromkeys(("inhibit_on_failure", "notify_up", "notify_down", "uthreshold", "lthreshold", "alpha", "retry",
                     "delay_before_retry", "warmup", "delay_loop", "virtualhost", "smtp_alert"), _TUNING),
}  # fmt: skip

TOP: dict[str, Verdict] = {
    "vrrp_script": _SCRIPTS, "track_file": _SCRIPTS, "vrrp_track_file": _SCRIPTS, "vrrp_track_process": _SCRIPTS,
    "track_process": _SCRIPTS, "vrrp_track_bfd": _SCRIPTS, "bfd_instance": left_out(
        "the heartbeat between the nodes does this", "노드 사이의 하트비트가 대신합니다"),
    "static_ipaddress": _ROUTES, "static_routes": _ROUTES, "static_rules": _ROUTES, "track_group": _TRACKED,
    "interface_up_down_delays": _TRACKED, "linkbeat_use_polling": _TRACKED, "linkbeat_interfaces": _TRACKED,
    "SSL": _TUNING, "net_namespace": _SYSTEM, "instance": _SYSTEM, "garp_group": _BUILT_IN,
}  # fmt: skip

LINK_LOCAL = kept("the virtual link-local address follows from the VRID", "가상 링크 로컬 주소는 VRID에서 나옵니다")
UDP = left_out("UDP services are not there yet", "아직 UDP 서비스가 없습니다")
FWMARK = left_out("services by firewall mark have no counterpart", "방화벽 마크로 정한 서비스는 해당 기능이 없습니다")
