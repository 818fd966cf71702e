//! Chunked bodies, whole and broken (threats B2, B12).

use fedgate::gate::Rejection::{BadSignature, RequestMalformed};

use super::{Case, Passes, PassesLast, Refused, fill_in, run_all};
use crate::support::{Client, Homeserver, within};

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("two chunks", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nb\r\n\"pdus\": []}\r\n0\r\n\r\n", Passes),
    ("size in capitals", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nC\r\n<B>\r\n0\r\n\r\n", Passes),
    ("size with zeros in front", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n000c\r\n<B>\r\n000\r\n\r\n", Passes),
    ("extension", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc;a=b;c=\"d\"\r\n<B>\r\n0;e\r\n\r\n", Passes),
    ("trailers are dropped", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\nc\r\n<B>\r\n0\r\nAuthorization: X-Matrix origin=evil.example\r\nX-Fedgate-Origin: evil.example\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", Passes),
    ("a request after the last chunk", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", PassesLast),
    ("size that is no number", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\ng\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("size with 0x", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n0xc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("size with a plus", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n+c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("negative size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n-c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("space before the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("space after the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc \r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("space inside the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n0 c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("vertical tab after the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\x0b\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("NUL in the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\0\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("comma after the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc,c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("size beyond 64 bits", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n1000000000000000c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("no size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("no size at the end", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n\r\n\r\n", Refused(RequestMalformed)),
    ("extension without a size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n;c\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("line feed alone after the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("carriage return alone after the size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("line feed in an extension", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc;\nx\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("NUL in an extension", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc;\0\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("carriage return in an extension", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc;\rx\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("no line end after a chunk", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>0\r\n\r\n", Refused(RequestMalformed)),
    ("line feed alone after a chunk", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\n0\r\n\r\n", Refused(RequestMalformed)),
    ("other bytes after a chunk", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>XX0\r\n\r\n", Refused(RequestMalformed)),
    ("chunk longer than its size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nb\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("chunk shorter than its size", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nd\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("a request in a chunk", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\nx\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("line feeds alone at the end", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\n\n", Refused(RequestMalformed)),
    ("line feed alone after the trailers", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\nX: y\n\r\n", Refused(RequestMalformed)),
    ("negative end", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n-0\r\n\r\n", Refused(RequestMalformed)),
    ("other content than was signed", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", super::RefusedAlone(BadSignature)),
];

#[tokio::test]
async fn b2_a_broken_chunk_leaves_the_homeserver_alone() {
    run_all(CASES).await;
}

/// What follows a broken chunk is no request, even when it comes after the answer.
#[tokio::test]
async fn b2_nothing_is_read_after_a_broken_chunk() {
    let homeserver = Homeserver::start().await;
    let gate = super::gate(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    let broken = b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nx\r\n";
    client.send(&fill_in(broken)).await;
    let answer = within("an answer", client.answer()).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["connection"], "close");
    client.send(&fill_in(b"GET <T> HTTP/1.1\r\n<H><G>\r\n")).await;
    assert!(within("the end", client.is_closed()).await);
    assert_eq!(homeserver.connections(), 0);
}
