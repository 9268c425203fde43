//! The rules as expressions of nf_tables (`linux/netfilter/nf_tables.h`): each loads a register,
//! compares it, or stores it.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey,
    Operator, Payload, Register, Verdict, VerdictAttribute,
};

/// Expressions in the order in which they are evaluated.
pub(super) type Rule = Vec<ListAttribute<ExpressionAttribute>>;

const IFNAMSIZ: usize = 16;
const IPPROTO_UDP: u8 = 17;
/// `RTN_LOCAL` of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = 2;
/// `NF_DROP` of `linux/netfilter.h`.
const NF_DROP: Verdict = Verdict::Other(0);
/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;

/// `iifname != "wg0" ip daddr 10.0.0.2 fib saddr type != local drop`
pub(super) fn drop_from_elsewhere(interface: &str, address: IpAddr) -> Rule {
    let mut name = interface.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    // The destination's offset in the header and its length, in bytes.
    let (offset, destination) = match address {
        IpAddr::V4(ip) => (16, ip.octets().to_vec()),
        IpAddr::V6(ip) => (24, ip.octets().to_vec()),
    };
    let length = destination.len() as u32;
    rule([
        load_meta(MetaKey::Iifname),
        compare(Operator::NotEqual, name),
        Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(NETWORK_HEADER),
            Payload::Offset(offset),
            Payload::Len(length),
        ]),
        compare(Operator::Equal, destination),
        load_type_of_source(),
        compare(Operator::NotEqual, RTN_LOCAL.to_ne_bytes().to_vec()),
        Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(NF_DROP)])),
        ]),
    ])
}

/// `meta l4proto udp meta mark MARK ct mark set meta mark`
pub(super) fn save_mark(mark: u32) -> Rule {
    rule([
        load_meta(MetaKey::L4Proto),
        compare(Operator::Equal, vec![IPPROTO_UDP]),
        load_meta(MetaKey::Mark),
        compare(Operator::Equal, mark.to_ne_bytes().to_vec()),
        load_meta(MetaKey::Mark),
        connection_mark(NFTA_CT_SREG),
    ])
}

/// `meta l4proto udp meta mark set ct mark`
pub(super) fn restore_mark() -> Rule {
    rule([
        load_meta(MetaKey::L4Proto),
        compare(Operator::Equal, vec![IPPROTO_UDP]),
        connection_mark(NFTA_CT_DREG),
        Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(Register::Reg1)]),
    ])
}

fn rule<const N: usize>(expressions: [Expressions; N]) -> Rule {
    expressions.into_iter().map(ListAttribute::from).collect()
}

fn load_meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)])
}

fn compare(operator: Operator, data: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(data)),
    ])
}

/// `fib saddr type`
fn load_type_of_source() -> Expressions {
    const NFTA_FIB_DREG: u16 = 1;
    const NFTA_FIB_RESULT: u16 = 2;
    const NFTA_FIB_FLAGS: u16 = 3;
    const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
    const NFTA_FIB_F_SADDR: u32 = 1;
    Expressions::Other {
        expression_type: "fib".to_owned(),
        attributes: vec![
            number(NFTA_FIB_DREG, Register::Reg1.into()),
            number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE),
            number(NFTA_FIB_FLAGS, NFTA_FIB_F_SADDR),
        ],
    }
}

const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_SREG: u16 = 4;

/// Loads the connection's mark, or stores it.
fn connection_mark(register: u16) -> Expressions {
    const NFTA_CT_KEY: u16 = 2;
    const NFT_CT_MARK: u32 = 3;
    Expressions::Other {
        expression_type: "ct".to_owned(),
        attributes: vec![number(register, Register::Reg1.into()), number(NFTA_CT_KEY, NFT_CT_MARK)],
    }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}
