//! The figures, by type and over all.

use std::collections::BTreeSet;

use crate::batch::Batch;
use crate::features::View;
use crate::measure::median;
use crate::{regression, score};

pub(crate) fn print(batches: &[Batch], times: &[f64]) {
    let logs: Vec<_> = times.iter().map(|time| time.ln()).collect();
    let views = View::ALL.map(|view| (view, regression::out_of_source(view, batches, &logs)));
    let types: BTreeSet<_> = batches.iter().map(|batch| batch.data_type).collect();
    let mistaken = batches.iter().filter(|batch| batch.vector.data_type != batch.data_type).count();
    let (least, most) = times.iter().fold((f64::MAX, 0.0_f64), |(a, b), time| (a.min(*time), b.max(*time)));
    println!("{mistaken} of another type to the agent; CPU time from {:.1} us to {:.1} ms", least * 1e6, most * 1e3);

    println!("\nR2 of log CPU time out of source, and the median absolute error in percent\n");
    print!("| type | batches, sources |");
    views.iter().for_each(|(view, _)| print!(" {} |", view.name()));
    println!("\n|---|---|{}", "---|".repeat(views.len()));
    for data_type in types.iter().map(|of| Some(*of)).chain([None]) {
        let members: Vec<_> =
            (0..batches.len()).filter(|at| data_type.is_none_or(|of| batches[*at].data_type == of)).collect();
        let sources: BTreeSet<_> = members.iter().map(|at| &batches[*at].source).collect();
        print!("| {} | {}, {} |", data_type.map_or("all", |of| of.as_str()), members.len(), sources.len());
        for (_, predicted) in &views {
            let (r2, error) = quality(&members, &logs, predicted);
            print!(" {r2:.3}, {error:.0} % |");
        }
        println!();
    }
    score::print(batches, times);
}

/// Share of the variance explained, and the median error of the time itself in percent.
fn quality(members: &[usize], logs: &[f64], predicted: &[f64]) -> (f64, f64) {
    let mean = members.iter().map(|at| logs[*at]).sum::<f64>() / members.len() as f64;
    let squares = |of: &dyn Fn(usize) -> f64| members.iter().map(|at| (logs[*at] - of(*at)).powi(2)).sum::<f64>();
    let explained = 1.0 - squares(&|at| predicted[at]) / squares(&|_| mean);
    let errors = members.iter().map(|at| ((predicted[*at] - logs[*at]).exp() - 1.0).abs() * 100.0);
    (explained, median(errors.collect()))
}
