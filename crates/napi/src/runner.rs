//! `run` as a bare Node-API function.
//!
//! A method of a generated class costs some 200 ns a call (its `this` is unwrapped, type-checked and borrow-tracked);
//! a device exit should cost no more than that altogether. This function takes no arguments and returns nothing: the
//! request, the exit and its kind are words of the page.

#![allow(unsafe_code, reason = "Node-API's C interface")]

use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;

use napi::bindgen_prelude::FromNapiValue;
use napi::{Env, Result, Unknown, check_status, sys};

use crate::Shared;

/// Makes the function; it keeps the machine's shell alive as long as JavaScript keeps the function.
pub fn create<'env>(env: &'env Env, shared: Rc<Shared>) -> Result<Unknown<'env>> {
    let data = Rc::into_raw(shared).cast_mut().cast::<c_void>();
    let mut function = null_mut();
    // SAFETY: `env` is live; `data` stays valid until `release` runs, which the finalizer below arranges.
    check_status!(unsafe { sys::napi_create_function(env.raw(), c"run".as_ptr(), 3, Some(run), data, &mut function) })?;
    // SAFETY: `function` was just created in this scope; `release` takes back the one reference that `data` holds.
    check_status!(unsafe { sys::napi_add_finalizer(env.raw(), function, data, Some(release), null_mut(), null_mut()) })?;
    // SAFETY: `function` is a value of the current scope of `env`.
    unsafe { Unknown::from_napi_value(env.raw(), function) }
}

/// The function's body.
unsafe extern "C" fn run(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    let mut data = null_mut();
    // SAFETY: `env` and `info` are what Node passed to this callback; null out-pointers mean "not wanted".
    let status = unsafe { sys::napi_get_cb_info(env, info, null_mut(), null_mut(), null_mut(), &mut data) };
    if status != sys::Status::napi_ok {
        return null_mut();
    }
    // SAFETY: `data` is the `Rc<Shared>` of `create`; it is released only when the function can no longer be called.
    let shared = unsafe { &*data.cast_const().cast::<Shared>() };
    if let Err(error) = shared.run() {
        let text = CString::new(error.reason.replace('\0', " ")).unwrap_or_default();
        // SAFETY: `env` is live and `text` is a terminated string for the length of the call.
        unsafe { sys::napi_throw_error(env, null(), text.as_ptr()) };
    }
    null_mut()
}

unsafe extern "C" fn release(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: `data` came from `Rc::into_raw` in `create`, and finalizers run once.
    drop(unsafe { Rc::from_raw(data.cast_const().cast::<Shared>()) });
}
