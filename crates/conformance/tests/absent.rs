//! Instructions that the model lacks raise #UD, but for those that older processors take for another instruction.

use conformance::arena;
use conformance::form::{Form, enumerate_absent};
use conformance::generate;
use conformance::guest::Guest;
use conformance::rng::Rng;
use conformance::state::End;
use cpu::Fault;
use iced_x86::Mnemonic;

/// Older processors ignore the F3h that tells these from BSF, BSR and WBINVD.
const OLDER_MEANING: [Mnemonic; 3] = [Mnemonic::Tzcnt, Mnemonic::Lzcnt, Mnemonic::Wbnoinvd];

/// What the form does on the model.
fn end(guest: &mut Guest, form: &Form) -> Option<End> {
    let mut rng = Rng::for_case(1, form.number(), 0);
    let case = generate::case(form, &mut rng)?;
    let template = vec![0; arena::SIZE];
    Some(guest.run(&case, &case.memory(&template)).end)
}

#[test]
fn every_instruction_beyond_the_model_is_undefined() {
    let mut guest = Guest::new();
    let forms = enumerate_absent().into_iter().filter(|form| !OLDER_MEANING.contains(&form.code.mnemonic())).collect::<Vec<_>>();
    let tried = forms.iter().filter_map(|form| Some((form, end(&mut guest, form)?))).collect::<Vec<_>>();
    let defined = tried
        .iter()
        .filter(|(_, end)| *end != End::Fault(Fault::UD))
        .map(|(form, end)| format!("{} {end:?}", form.name()))
        .collect::<Vec<_>>();
    assert!(tried.len() > 100, "only {} forms could be encoded", tried.len());
    assert_eq!(defined, Vec::<String>::new(), "of {}", tried.len());
}
