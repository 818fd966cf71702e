//! How long a body is (threats B1).

use fedgate::gate::Rejection::{BodyForbidden, BodyNotJson, FramingAmbiguous, RequestMalformed};

use super::{Case, Passes, PassesLast, Refused, run_all};

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("one length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\n\r\n<B>", Passes),
    ("spaces around a length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: \t 12 \t\r\n\r\n<B>", Passes),
    ("length in capitals", b"PUT <S> HTTP/1.1\r\n<H><P>CONTENT-LENGTH:12\r\n\r\n<B>", Passes),
    ("length before coding", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("coding before length", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("length 0 and coding", b"PUT <S> HTTP/1.1\r\n<H><P>content-length:0\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("CL.TE with a request inside", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", Refused(FramingAmbiguous)),
    ("same length twice", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nContent-Length: 12\r\n\r\n<B>", Refused(FramingAmbiguous)),
    ("two lengths", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nContent-Length: 0\r\n\r\n<B>", Refused(RequestMalformed)),
    ("list of one length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12, 12\r\n\r\n<B>", Refused(FramingAmbiguous)),
    ("list of two lengths", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12, 0\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length with a plus", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: +12\r\n\r\n<B>", Refused(RequestMalformed)),
    ("negative length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: -12\r\n\r\n<B>", Refused(RequestMalformed)),
    ("hexadecimal length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 0xc\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length with a zero in front", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 012\r\n\r\n<B>", Refused(FramingAmbiguous)),
    ("two zeros", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 00\r\n\r\n", Refused(FramingAmbiguous)),
    ("length with a space inside", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 1 2\r\n\r\n<B>", Refused(RequestMalformed)),
    ("empty length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length:\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length beyond 64 bits", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 18446744073709551628\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length with a fraction", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12.0\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length with a vertical tab", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\x0b\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length in other digits", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: \xd9\xa1\xd9\xa2\r\n\r\n<B>", Refused(RequestMalformed)),
    ("space before the colon of a length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length : 12\r\n\r\n<B>", Refused(RequestMalformed)),
    ("length under an alias", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nContent_Length: 3\r\n\r\n<B>", Passes),
    ("no length at all", b"PUT <S> HTTP/1.1\r\n<H><P>\r\n<B>", Refused(BodyNotJson)),
    ("coding", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Passes),
    ("coding in capitals", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: CHUNKED\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Passes),
    ("coding under an alias", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nTransfer_Encoding: chunked\r\n\r\n<B>", Passes),
    ("gzip, chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: gzip, chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("identity, chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: identity, chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("chunked, chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked, chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    (",chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: ,chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("chunked twice", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(FramingAmbiguous)),
    ("chunked, identity", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked, identity\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("chunked then identity", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("identity", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: identity\r\n\r\n<B>", Refused(RequestMalformed)),
    ("xchunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: xchunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("quoted chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: \"chunked\"\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("chunked with a parameter", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked;q=1\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("empty coding", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding:\r\n\r\n<B>", Refused(RequestMalformed)),
    ("empty coding and a length", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding:\r\nContent-Length: 12\r\n\r\n<B>", Refused(RequestMalformed)),
    ("space before the colon of a coding", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding : chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("vertical tab before chunked", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: \x0bchunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("coding on a folded line", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n<B>", Refused(RequestMalformed)),
    ("coding folded itself", b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding:\r\n chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("coding on HTTP/1.0", b"PUT <S> HTTP/1.0\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nc\r\n<B>\r\n0\r\n\r\n", Refused(RequestMalformed)),
    ("length on HTTP/1.0", b"PUT <S> HTTP/1.0\r\n<H><P>Content-Length: 12\r\n\r\n<B>", PassesLast),
    ("GET of length 0", b"GET <T> HTTP/1.1\r\n<H><G>Content-Length: 0\r\n\r\n", Passes),
    ("GET with a body", b"GET <T> HTTP/1.1\r\n<H><G>Content-Length: 12\r\n\r\n<B>", Refused(BodyForbidden)),
    ("GET with a request as its body", b"GET <T> HTTP/1.1\r\n<H><G>Content-Length: 30\r\n\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", Refused(BodyForbidden)),
    ("GET with no chunks", b"GET <T> HTTP/1.1\r\n<H><G>Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(BodyForbidden)),
    ("body longer than its length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\n\r\n<B>GET <T> HTTP/1.1\r\n<H><G>\r\n", PassesLast),
    ("length in the request line", b"PUT <S> HTTP/1.1 Content-Length: 12\r\n<H><P>\r\n<B>", Refused(RequestMalformed)),
];

#[tokio::test]
async fn b1_a_body_has_one_length_or_the_request_is_refused() {
    run_all(CASES).await;
}
