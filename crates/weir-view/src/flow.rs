//! All stages of a plan in one process, each with its task and its state in memory: for tests of a view and of the
//! language. What a stage writes goes to the stages that read it at once.

use weir_expr::ExprError;

use crate::plan::Plan;
use crate::projection::RowError;
use crate::state::Memory;
use crate::task::{Emit, Fault, Output, Record, Task, Undefined};

/// A plan at work on one partition.
#[derive(Debug)]
pub struct Flow {
    tasks: Vec<Task>,
    /// The state of each stage.
    pub states: Vec<Memory>,
    /// For each stage who reads it: the number of a stage and of its input.
    readers: Vec<Vec<(usize, usize)>>,
    /// For each stage the names and topics of the inputs that no stage writes.
    inputs: Vec<Vec<Option<[String; 2]>>>,
    /// How many records each stage has put out, the offsets of its topic.
    written: Vec<i64>,
    /// Why records between stages were not taken.
    pub faults: Vec<RowError>,
    /// The rows that were due and have no value, of all stages.
    pub undefined: Vec<Undefined>,
}

/// A record that goes on: key, value and time.
type Made = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

#[derive(Default)]
struct Collected(Vec<Made>);

impl Emit for Collected {
    fn emit(&mut self, output: Output<'_>) {
        self.0.push((output.key.map(<[u8]>::to_vec), output.value.map(<[u8]>::to_vec), output.time));
    }
}

impl Flow {
    /// The plan with nothing read yet.
    ///
    /// # Errors
    /// None that [`plan`](crate::plan) has not found.
    pub fn new(plan: &Plan) -> Result<Flow, ExprError> {
        let stages = plan.stages();
        let readers = |of: usize| {
            let of = Some(of);
            let inputs = stages
                .iter()
                .enumerate()
                .flat_map(|(s, stage)| stage.inputs.iter().enumerate().map(move |(i, input)| (s, i, input.from)));
            inputs.filter(|(_, _, from)| *from == of).map(|(s, i, _)| (s, i)).collect()
        };
        let name = |input: &crate::plan::StageInput| {
            input.from.is_none().then(|| [input.relation.name.clone(), input.relation.topic.clone()])
        };
        Ok(Flow {
            tasks: plan.tasks()?,
            states: vec![Memory::default(); stages.len()],
            readers: (0..stages.len()).map(readers).collect(),
            inputs: stages.iter().map(|stage| stage.inputs.iter().map(name).collect()).collect(),
            written: vec![0; stages.len()],
            faults: Vec::new(),
            undefined: Vec::new(),
        })
    }

    /// Makes every task anew over the states as they are, as when it moves to another machine.
    ///
    /// # Errors
    /// As [`Flow::new`].
    pub fn moved(&mut self, plan: &Plan) -> Result<(), ExprError> {
        for (task, state) in self.tasks.iter_mut().zip(&mut self.states) {
            task.settle_up(state).map_err(|e| ExprError::new(Default::default(), e.to_string()))?;
        }
        self.tasks = plan.tasks()?;
        Ok(())
    }

    /// Takes a record of a relation, by its name or its topic, through all stages; what the last one puts out goes to
    /// `emit`. It says whether any stage reads the relation.
    ///
    /// # Errors
    /// The fault of the record at the first stage that does not take it. One of a record between stages stands in
    /// `faults`, and the flow goes on.
    pub fn process(&mut self, relation: &str, record: &Record<'_>, emit: &mut dyn Emit) -> Result<bool, Fault> {
        let reads = |names: &Option<[String; 2]>| names.as_ref().is_some_and(|n| n.iter().any(|n| n == relation));
        let mut all = Vec::new();
        for (stage, inputs) in self.inputs.iter().enumerate() {
            all.extend(inputs.iter().enumerate().filter(|(_, names)| reads(names)).map(|(input, _)| (stage, input)));
        }
        let found = !all.is_empty();
        for (stage, input) in all {
            self.step(stage, input, record, emit)?;
        }
        Ok(found)
    }

    fn step(&mut self, stage: usize, input: usize, record: &Record<'_>, emit: &mut dyn Emit) -> Result<(), Fault> {
        let (Some(task), Some(state)) = (self.tasks.get_mut(stage), self.states.get_mut(stage)) else { return Ok(()) };
        if stage + 1 == self.written.len() {
            task.process(input, record, state, emit)?;
            self.undefined.extend_from_slice(task.undefined());
            return Ok(());
        }
        let mut made = Collected::default();
        task.process(input, record, state, &mut made)?;
        self.undefined.extend_from_slice(task.undefined());
        for (key, value, time) in made.0 {
            let offset = self.written[stage];
            self.written[stage] += 1;
            let record = Record {
                key: key.as_deref(),
                value: value.as_deref(),
                time,
                partition: record.partition,
                offset,
                headers: &[],
            };
            for (stage, input) in self.readers[stage].clone() {
                match self.step(stage, input, &record, emit) {
                    Err(Fault::Record(fault)) => self.faults.push(fault),
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
