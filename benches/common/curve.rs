//! Curves as pictures.

use std::path::Path;

use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 380);
const COLOURS: [RGBColor; 3] =
    [RGBColor(47, 109, 179), RGBColor(79, 157, 105), RGBColor(179, 88, 47)];

/// A line: what it is called, and its height at each place.
pub struct Line<'a> {
    pub name: &'a str,
    pub heights: Vec<f64>,
}

/// Writes `benches/NAME.svg`: places are set out evenly, whatever lies between them.
pub fn write(
    name: &str,
    caption: &str,
    places: (&str, &[String]),
    height: &str,
    lines: &[Line<'_>],
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/{name}.svg"));
    let (what, places) = places;
    let highest = lines.iter().flat_map(|line| &line.heights).copied().fold(0.0, f64::max);
    let root = SVGBackend::new(&path, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let right = places.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 15))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right, 0.0..highest * 1.15)
        .unwrap();
    chart
        .configure_mesh()
        .x_labels(places.len())
        .x_label_formatter(&|x| places.get(x.round() as usize).cloned().unwrap_or_default())
        .x_desc(what)
        .y_desc(height)
        .draw()
        .unwrap();
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points = line.heights.iter().enumerate().map(|(at, height)| (at as f64, *height));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))
            .unwrap()
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()
        .unwrap();
    root.present().unwrap();
}
