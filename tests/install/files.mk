# SPDX-License-Identifier: Apache-2.0
payload_tests += tests/install/test_install
