//! The ratios as a picture, for README.

use std::fmt::Write as _;
use std::path::Path;

use crate::time::Ratios;

/// In pixels.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 220.0;
const TOP: f64 = 64.0;
const ROW: f64 = 40.0;
const BAR: f64 = 14.0;

/// The ratio at the right edge.
const RIGHT: f64 = 1.5;

/// Writes `benches/verdict.svg`.
pub fn write(rows: &[Ratios]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/verdict.svg");
    std::fs::write(path, svg(rows)).unwrap();
}

fn svg(rows: &[Ratios]) -> String {
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - 60.0) * ratio / RIGHT;
    let bottom = ROW.mul_add(rows.len() as f64, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#ffffff\"/>\n<text x=\"12\" y=\"24\" font-size=\"15\">Processor time of a verdict; 1 is \
         the signature check by itself</text>\n",
        bottom + 20.0
    );
    for (at, colour, label) in [
        (12.0, "#2f6db3", "fedgate, head to verdict"),
        (220.0, "#4f9d69", "with a table for the key"),
    ] {
        writeln!(
            svg,
            "<rect x=\"{at}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n<text x=\"{}\" \
             y=\"47\">{label}</text>",
            at + 18.0
        )
        .unwrap();
    }
    for (row, ratios) in rows.iter().enumerate() {
        let y = ROW.mul_add(row as f64, TOP);
        writeln!(svg, "<text x=\"12\" y=\"{}\">{}</text>", y + BAR + 4.0, ratios.name).unwrap();
        for (place, ratio, colour) in [(0.0, ratios.gate, "#2f6db3"), (1.0, ratios.hot, "#4f9d69")]
        {
            let top = (BAR + 2.0).mul_add(place, y);
            writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"11\">{ratio:.2}</text>",
                x(ratio) - LEFT,
                x(ratio) + 4.0,
                top + 11.0,
            )
            .unwrap();
        }
    }
    let one = x(1.0);
    writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{}\" x2=\"{one:.1}\" y2=\"{bottom}\" stroke=\"#333333\" \
         stroke-dasharray=\"3 3\"/>\n</svg>",
        TOP - 6.0
    )
    .unwrap();
    svg
}
