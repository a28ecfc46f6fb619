use super::*;
use crate::Cpu;
use burn::tensor::{DType, f16};

#[test]
fn as_many_stay_as_there_is_room_for() {
    let resident = Resident::<Cpu>::new(Default::default(), 20);
    let data = |row: usize| TensorData::new(vec![f16::from_f32(row as f32); 4], [4]);
    for row in [7, 3, 7, 5, 3] {
        let found = resident.get(row, || data(row));
        assert_eq!(found.dtype(), DType::F16);
        assert_eq!(found.into_data(), data(row));
    }
    assert_eq!([7, 3, 5].map(|row| resident.holds(row)), [true, true, false]);
    assert_eq!(resident.len(), 2);
    // What is there is not read again.
    resident.get(7, || panic!("read again"));
    assert_eq!([room(100, 20), room(20, 100)], [60, 0]);
}
